"""A sheet of paper in millimetres: rectangles and words, written as a PDF or a PNG at exact scale.

Millimetres run from the sheet's top left, x right and y down.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from urdf.pose import Array

if TYPE_CHECKING:
    from PIL import Image

DPI = 600
_MM_PER_INCH = 25.4
#: Of the size of its letters: how wide Helvetica's digits are. Ref: Adobe font metrics, Helvetica.
_DIGIT_EM = 0.556


@dataclass(frozen=True, slots=True)
class Ink:
    """Rectangles (n, 4) of one grey (0 black, 1 white): left, top, width, height [mm]."""

    rectangles_mm: Array
    grey: float = 0.0


@dataclass(frozen=True, slots=True)
class Words:
    """A line of letters whose baseline begins at x, y [mm], or whose middle stands there where `centred` (digits)."""

    x_mm: float
    y_mm: float
    text: str
    size_mm: float = 3.0
    bold: bool = False
    centred: bool = False
    grey: float = 0.15


@dataclass(slots=True)
class Sheet:
    """What is printed on one sheet of paper."""

    width_mm: float
    height_mm: float
    title: str
    ink: list[Ink] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)

    def fill(self, rectangles: list[tuple[float, float, float, float]], grey: float = 0.0) -> None:
        """Add rectangles (left, top, width, height) [mm] as one shape."""
        self.ink.append(Ink(np.array(rectangles, dtype=np.float64).reshape(-1, 4), grey))

    def write(self, text: str, x_mm: float, y_mm: float, size_mm: float = 3.0, bold: bool = False) -> None:
        """Add a line of letters."""
        self.words.append(Words(x_mm, y_mm, text, size_mm, bold))

    def number(self, text: str, x_mm: float, y_mm: float, size_mm: float = 2.6, grey: float = 0.15) -> None:
        """Add a number whose middle stands at x, on the baseline y."""
        self.words.append(Words(x_mm, y_mm, text, size_mm, centred=True, grey=grey))

    def pdf(self) -> bytes:
        """Return it as a PDF, in vectors, that asks its viewer to print it unscaled."""
        points = 72 / _MM_PER_INCH
        width, height = self.width_mm * points, self.height_mm * points
        # One unit is a millimetre, from the top left, as above; letters are turned back upright.
        lines = [f"{points:.9f} 0 0 {-points:.9f} 0 {height:.6f} cm"]
        for ink in self.ink:
            lines.append(f"{ink.grey:g} g")
            lines += [f"{x:.5f} {y:.5f} {w:.5f} {h:.5f} re" for x, y, w, h in ink.rectangles_mm]
            lines.append("f")
        for words in self.words:
            x = words.x_mm - (_DIGIT_EM * words.size_mm * len(words.text) / 2 if words.centred else 0.0)
            text = words.text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
            font = "B" if words.bold else "R"
            lines.append(
                f"BT {words.grey:g} g /{font} {words.size_mm:g} Tf 1 0 0 -1 {x:.4f} {words.y_mm:.4f} Tm ({text}) Tj ET"
            )
        content = "\n".join(lines).encode("cp1252")
        return _pdf_file(content, width, height, self.title)

    def png(self) -> bytes:
        """Return it as a PNG of 600 dots per inch, which the file says."""
        file = io.BytesIO()
        self.raster(DPI).save(file, "PNG", dpi=(DPI, DPI), compress_level=2)
        return file.getvalue()

    def raster(self, dpi: float) -> Image.Image:
        """Return it as a grey picture of so many dots per inch."""
        from PIL import Image, ImageDraw

        from scripts.programs.lettering import font

        per_mm = dpi / _MM_PER_INCH
        paper = np.full((round(self.height_mm * per_mm), round(self.width_mm * per_mm)), 255, dtype=np.uint8)
        for ink in self.ink:
            x, y, w, h = (ink.rectangles_mm * per_mm).T
            edges = np.rint(np.stack([x, y, x + w, y + h], axis=1)).astype(int)
            for left, top, right, bottom in edges:
                paper[top : max(bottom, top + 1), left : max(right, left + 1)] = round(255 * ink.grey)
        picture = Image.fromarray(paper)
        pen = ImageDraw.Draw(picture)
        for words in self.words:
            letters = font(round(0.88 * words.size_mm * per_mm), words.bold)  # DejaVu is wider than Helvetica
            place = (words.x_mm * per_mm, words.y_mm * per_mm)
            pen.text(place, words.text, round(255 * words.grey), letters, anchor="ms" if words.centred else "ls")
        return picture


def _pdf_file(content: bytes, width_pt: float, height_pt: float, title: str) -> bytes:
    """Return a PDF of one page. Ref: ISO 32000-1, 7.5 (file structure), 12.2 (viewer preferences)."""
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /{} /Encoding /WinAnsiEncoding >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width_pt:.4f} {height_pt:.4f}] /Contents 4 0 R "
            "/Resources << /Font << /R 5 0 R /B 6 0 R >> >> >>"
        ).encode(),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        font.format("Helvetica").encode(),
        font.format("Helvetica-Bold").encode(),
        f"<< /Title ({title}) /Producer (Tandem) >>".encode("cp1252"),
    ]
    file = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    starts: list[int] = []
    for number, body in enumerate(objects, start=1):
        starts.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    file += b"".join(b"%010d 00000 n \n" % start for start in starts)
    file += b"trailer\n<< /Size %d /Root 1 0 R /Info 7 0 R >>\n" % (len(objects) + 1)
    file += b"startxref\n%d\n%%%%EOF\n" % table
    return bytes(file)
