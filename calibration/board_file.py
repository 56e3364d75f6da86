"""BoardFile: which board was printed, on what paper, and how long its rulers came out.

data/boards/<name>.json   and what it replaced under data/boards/history/
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal

import msgspec

from calibration.artifacts import utc_now, write_atomic
from calibration.board_spec import BOARDS, Board, BoardKind
from calibration.boards import DESK_BOARD, Target
from calibration.errors import BadArtifact, BoardError, CalibrationError, WrongScale
from urdf.errors import UnknownName

Paper = Literal["A4", "Letter"]
PAPER_MM: dict[Paper, tuple[float, float]] = {"A4": (210.0, 297.0), "Letter": (215.9, 279.4)}
#: The file of the printed board around the blocks, as `tandem board make desk` leaves it.
DESK_BOARD_NAME = "desk"
#: The rulers that are printed beside every board.
RULER_ACROSS_MM, RULER_DOWN_MM = 150.0, 200.0
#: A wider board is turned by a quarter on its upright sheet: its x then runs up the sheet.
_WIDEST_UPRIGHT_M = 0.181
#: A ruler that is off by more was not measured in mm, or not from end to end.
_MAX_MISREAD = 0.5
_SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class BoardFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One printed board; lengths in mm as on the sheet, the rulers as measured (nominal until then)."""

    schema_version: int = _SCHEMA
    name: str
    kind: BoardKind
    columns: int
    rows: int
    pitch_mm: float
    marker_mm: float
    dictionary: str
    first_id: int
    paper: Paper
    made_utc: str
    measured_utc: str = ""
    ruler_across_mm: float = RULER_ACROSS_MM
    ruler_down_mm: float = RULER_DOWN_MM

    def __post_init__(self) -> None:
        if self.schema_version != _SCHEMA:
            raise BadArtifact(f"schema_version {self.schema_version}: this program reads {_SCHEMA}")
        check_name(self.name)
        self.board()

    @staticmethod
    def of(name: str, board: Board, paper: Paper) -> BoardFile:
        """Return the file of a board that is printed now and measured later."""
        return BoardFile(
            name=name,
            kind=board.kind,
            columns=board.columns,
            rows=board.rows,
            pitch_mm=round(1000 * board.pitch_m, 6),
            marker_mm=round(1000 * board.marker_m, 6),
            dictionary=board.dictionary,
            first_id=board.first_id,
            paper=paper,
            made_utc=utc_now(),
        )

    def board(self) -> Board:
        """Return the board as it came out of the printer."""
        nominal = Board(
            self.kind, self.columns, self.rows, self.pitch_mm / 1000, self.marker_mm / 1000, self.dictionary,
            self.first_id,
        )  # fmt: skip
        across, down = self.ruler_across_mm / RULER_ACROSS_MM, self.ruler_down_mm / RULER_DOWN_MM
        return nominal.scaled(down, across) if is_turned(nominal) else nominal.scaled(across, down)

    def measured(self, across_mm: float, down_mm: float) -> BoardFile:
        """Return it with its rulers as measured; raises WrongScale on a sheet that was not printed at 100 %."""
        for which, value, nominal in (("across", across_mm, RULER_ACROSS_MM), ("down", down_mm, RULER_DOWN_MM)):
            if not (math.isfinite(value) and abs(value / nominal - 1) < _MAX_MISREAD):
                raise WrongScale(
                    f"{value:g} mm for the ruler {which} the sheet, which is {nominal:g} mm long: measure in mm, from "
                    "its first line to its last"
                )
        return msgspec.structs.replace(self, ruler_across_mm=across_mm, ruler_down_mm=down_mm, measured_utc=utc_now())

    def save(self, data_root: Path) -> Path:
        """Write it, keeping what it replaces under history/; return its path."""
        path = board_path(self.name, data_root)
        if path.exists():
            number = len(list((path.parent / "history").glob(f"{self.name}_*.json"))) + 1
            write_atomic(path.parent / "history" / f"{self.name}_{utc_now()}_{number}.json", path.read_bytes())
        write_atomic(path, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
        return path

    @staticmethod
    def load(name: str, data_root: Path) -> BoardFile:
        """Read it strictly; raises UnknownName where no such board was made here, or BadArtifact."""
        path = board_path(name, data_root)
        try:
            return msgspec.json.decode(path.read_bytes(), type=BoardFile)
        except FileNotFoundError as error:
            made = [p.stem for p in path.parent.glob("*.json")]
            raise UnknownName("printed board", name, made, "tandem board make KIND prints one") from error
        except (msgspec.MsgspecError, CalibrationError) as error:
            raise BadArtifact(f"{path} describes no board: {error}. Make it again: tandem board make") from error


def board_path(name: str, data_root: Path) -> Path:
    """Return where the file of a printed board lies; raises BoardError on an unusable name."""
    check_name(name)
    return data_root / "boards" / f"{name}.json"


def check_name(name: str) -> None:
    """Raise BoardError on a name that is no file name."""
    if not _NAME.fullmatch(name):
        raise BoardError(
            f"board name {name!r}: expected 1-64 letters, digits, '_', '-' or '.', a letter or digit first"
        )


def is_measured(name: str, data_root: Path) -> bool:
    """Return whether somebody told how long this board's rulers came out; not where it was not made here."""
    return board_path(name, data_root).exists() and bool(BoardFile.load(name, data_root).measured_utc)


def load_board(name: str, data_root: Path) -> Board:
    """Return the board that was printed under this name, or the standard board of that kind where none was.

    A standard board is what a perfect printer makes. Raises UnknownName.
    """
    if board_path(name, data_root).exists():
        return BoardFile.load(name, data_root).board()
    if name in BOARDS:
        return BOARDS[name]
    made = [p.stem for p in (data_root / "boards").glob("*.json")]
    raise UnknownName("board", name, sorted({*made, *BOARDS}), "tandem board make prints one")


def load_desk_board(data_root: Path) -> Target:
    """Return the board around the blocks as it was printed here, the nominal one where it was not made here.

    Raises BadArtifact, or BoardError where another board bears its name.
    """
    if not board_path(DESK_BOARD_NAME, data_root).exists():
        return DESK_BOARD
    board = BoardFile.load(DESK_BOARD_NAME, data_root).board()
    if board.kind != "desk":
        raise BoardError(
            f"{board_path(DESK_BOARD_NAME, data_root)} is a {board.kind} board, and that name is the board's around "
            "the blocks: make yours under another name (--name), and the desk board again: tandem board make desk"
        )
    return DESK_BOARD.scaled(*board.scale)


def is_turned(board: Board) -> bool:
    """Whether the board stands on its upright sheet turned by a quarter, counter-clockwise."""
    return board.size_m[0] > _WIDEST_UPRIGHT_M and board.size_m[0] > board.size_m[1]
