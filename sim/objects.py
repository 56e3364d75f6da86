"""What lies on the desk: a pool of objects that are made once and parked out of sight while they are not wanted.

Bodies are never made or removed after the world has been built, because a saved state only fits the same set of
bodies. Parked ones have no mass, which makes them almost free (25 cost less than the noise of a physics step).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pybullet as bullet

from sim.errors import SimError
from urdf.checks import check_whole
from urdf.description import urdf_folder
from urdf.pose import Pose

BLOCK_SIZE_M = 0.030
MAX_DISTRACTORS = 4
#: The block's: 30 g at 30 mm, light wood.
DENSITY_KG_M3 = 0.030 / BLOCK_SIZE_M**3
LATERAL_FRICTION = 0.8
SPINNING_FRICTION = 0.002
_PARK_M = 5.0
_PARK_SPACING_M = 0.3
_HULL_SKIN_M = 0.001
_COLORS = ((0.87, 0.46, 0.16), (0.20, 0.52, 0.74), (0.30, 0.62, 0.35), (0.66, 0.33, 0.62), (0.80, 0.68, 0.22))


class ObjectKind(StrEnum):
    """Shapes that parallel jaws can hold: a cube, an upright cylinder, an upright hexagonal prism."""

    BLOCK = "block"
    CYLINDER = "cylinder"
    PRISM = "prism"

    def volume_m3(self, size_m: float) -> float:
        """Return the volume of an object this wide between its flats, and as high."""
        area = {ObjectKind.BLOCK: 1.0, ObjectKind.CYLINDER: math.pi / 4, ObjectKind.PRISM: math.sqrt(3) / 2}[self]
        return area * size_m**3


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """Which objects a world keeps: every kind in every size, and so many beside the one that is wanted."""

    kinds: tuple[ObjectKind, ...] = (ObjectKind.BLOCK,)
    sizes_m: tuple[float, ...] = (BLOCK_SIZE_M,)
    distractors: int = 0

    def __post_init__(self) -> None:
        if not self.kinds or not self.sizes_m:
            raise SimError("a pool needs at least one kind and one size")
        if not all(0.01 <= size <= 0.08 for size in self.sizes_m):
            raise SimError(f"sizes_m must be 0.01 to 0.08, got {self.sizes_m}")
        check_whole("distractors", self.distractors, 0, MAX_DISTRACTORS, SimError)


@dataclass(frozen=True, slots=True)
class PooledObject:
    """One body of the pool."""

    body: int
    kind: ObjectKind
    size_m: float

    @property
    def mass_kg(self) -> float:
        """Its mass when nothing else is asked for."""
        return DENSITY_KG_M3 * self.kind.volume_m3(self.size_m)


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What an object on the desk is: a size of the pool, and the mass that physics has been told."""

    kind: ObjectKind
    size_m: float
    mass_kg: float


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one object of the pool is to lie."""

    index: int
    pose: Pose
    mass_kg: float | None = None
    friction: float | None = None


class ObjectPool:
    """The objects of one world. The first placement is the object that a task is about."""

    def __init__(self, client: int, spec: PoolSpec) -> None:
        self.spec = spec
        self._client = client
        self.objects: list[PooledObject] = []
        for kind in spec.kinds:
            for size_m in spec.sizes_m:
                self._add(kind, size_m, _COLORS[0])
        # Distractors look like what is wanted, in other colours.
        for k in range(spec.distractors):
            kind = spec.kinds[k % len(spec.kinds)]
            self._add(kind, spec.sizes_m[len(spec.sizes_m) // 2], _COLORS[1 + k])
        self.target = self.objects[0]
        self._target_mass_kg = self.target.mass_kg
        #: A lone object keeps its mass while it is parked: nothing is ever changed until somebody asks for it.
        self._touched = len(self.objects) > 1
        self._placed = list(range(len(self.objects)))
        self.park_all()

    @property
    def distractor_indices(self) -> range:
        """The places of the distractors in the pool."""
        return range(len(self.objects) - self.spec.distractors, len(self.objects))

    @property
    def target_facts(self) -> ObjectFacts:
        """What the target really is."""
        return ObjectFacts(self.target.kind, self.target.size_m, self._target_mass_kg)

    def nearest(self, kind: ObjectKind, size_m: float) -> int:
        """Return the place of the object of a kind whose size is nearest."""
        sizes = self.spec.sizes_m
        return self.spec.kinds.index(kind) * len(sizes) + min(range(len(sizes)), key=lambda k: abs(sizes[k] - size_m))

    def park_all(self) -> None:
        """Take every object off the desk."""
        for index in self._placed:
            self._park(index)
        self._placed = []

    def place(self, placements: Sequence[Placement]) -> None:
        """Put objects on the desk, at rest; the first is the target from now on."""
        for placement in placements:
            pooled = self.objects[placement.index]
            self._wake(placement)
            bullet.resetBasePositionAndOrientation(
                pooled.body,
                placement.pose.position_m.tolist(),
                placement.pose.quat_xyzw.tolist(),
                physicsClientId=self._client,
            )
            bullet.resetBaseVelocity(pooled.body, [0, 0, 0], [0, 0, 0], physicsClientId=self._client)
            self._placed.append(placement.index)
        if placements:
            self.target = self.objects[placements[0].index]
            mass_kg = placements[0].mass_kg
            self._target_mass_kg = self.target.mass_kg if mass_kg is None else mass_kg

    def _wake(self, placement: Placement) -> None:
        nominal = placement.mass_kg is None and placement.friction is None
        if nominal and not self._touched:
            return
        self._touched = True
        pooled = self.objects[placement.index]
        bullet.changeDynamics(
            pooled.body,
            -1,
            mass=pooled.mass_kg if placement.mass_kg is None else placement.mass_kg,
            lateralFriction=LATERAL_FRICTION if placement.friction is None else placement.friction,
            physicsClientId=self._client,
        )

    def _park(self, index: int) -> None:
        body = self.objects[index].body
        if self._touched:
            bullet.changeDynamics(body, -1, mass=0.0, physicsClientId=self._client)
        place = [_PARK_M + _PARK_SPACING_M * index, 0.0, _PARK_M]
        bullet.resetBasePositionAndOrientation(body, place, [0, 0, 0, 1], physicsClientId=self._client)

    def _add(self, kind: ObjectKind, size_m: float, color: tuple[float, float, float]) -> None:
        if kind is ObjectKind.BLOCK and size_m == BLOCK_SIZE_M and not self.objects:
            path = str(urdf_folder() / "objects" / "block.urdf")
            body = bullet.loadURDF(path, [0, 0, _PARK_M], physicsClientId=self._client)
        else:
            body = self._make(kind, size_m, color)
        bullet.changeDynamics(body, -1, linearDamping=0.01, angularDamping=0.01, physicsClientId=self._client)
        self.objects.append(PooledObject(body, kind, size_m))

    def _make(self, kind: ObjectKind, size_m: float, color: tuple[float, float, float]) -> int:
        c = self._client
        rgba = [*color, 1.0]
        if kind is ObjectKind.BLOCK:
            half = [size_m / 2] * 3
            shape = bullet.createCollisionShape(bullet.GEOM_BOX, halfExtents=half, physicsClientId=c)
            look = bullet.createVisualShape(bullet.GEOM_BOX, halfExtents=half, rgbaColor=rgba, physicsClientId=c)
        elif kind is ObjectKind.CYLINDER:
            shape = bullet.createCollisionShape(
                bullet.GEOM_CYLINDER, radius=size_m / 2, height=size_m, physicsClientId=c
            )
            look = bullet.createVisualShape(
                bullet.GEOM_CYLINDER, radius=size_m / 2, length=size_m, rgbaColor=rgba, physicsClientId=c
            )
        else:
            mesh, scale = str(urdf_folder() / "objects" / "prism.obj"), [size_m] * 3
            # Bullet wraps a hull in a skin of this thickness, on every side.
            hull = [size_m - 2 * _HULL_SKIN_M] * 3
            shape = bullet.createCollisionShape(bullet.GEOM_MESH, fileName=mesh, meshScale=hull, physicsClientId=c)
            look = bullet.createVisualShape(
                bullet.GEOM_MESH, fileName=mesh, meshScale=scale, rgbaColor=rgba, physicsClientId=c
            )
        mass_kg = DENSITY_KG_M3 * kind.volume_m3(size_m)
        body = bullet.createMultiBody(mass_kg, shape, look, [0, 0, _PARK_M], physicsClientId=c)
        bullet.changeDynamics(
            body,
            -1,
            lateralFriction=LATERAL_FRICTION,
            spinningFriction=SPINNING_FRICTION,
            frictionAnchor=1,
            physicsClientId=c,
        )
        return body
