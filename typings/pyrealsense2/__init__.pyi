"""What Tandem uses of pyrealsense2 2.59, which comes without types. Ref: librealsense wrappers/python."""

import numpy as np
from numpy.typing import NDArray

class camera_info:
    name: camera_info
    serial_number: camera_info
    firmware_version: camera_info
    usb_type_descriptor: camera_info

class stream:
    color: stream
    depth: stream

class format:
    rgb8: format
    z16: format

class option:
    depth_units: option

class matchers:
    default: matchers

class timestamp_domain:
    hardware_clock: timestamp_domain
    system_time: timestamp_domain
    global_time: timestamp_domain

class distortion:
    none: distortion
    brown_conrady: distortion
    inverse_brown_conrady: distortion
    modified_brown_conrady: distortion
    kannala_brandt4: distortion
    ftheta: distortion
    name: str

class intrinsics:
    width: int
    height: int
    fx: float
    fy: float
    ppx: float
    ppy: float
    model: distortion
    coeffs: list[float]

class extrinsics:
    rotation: list[float]
    translation: list[float]

class video_stream:
    type: stream
    index: int
    uid: int
    width: int
    height: int
    fps: int
    bpp: int
    fmt: format
    intrinsics: intrinsics

class stream_profile:
    def stream_type(self) -> stream: ...
    def format(self) -> format: ...
    def fps(self) -> int: ...
    def as_video_stream_profile(self) -> video_stream_profile: ...
    def register_extrinsics_to(self, to: stream_profile, extrinsics: extrinsics) -> None: ...

class video_stream_profile(stream_profile):
    intrinsics: intrinsics
    def width(self) -> int: ...
    def height(self) -> int: ...

class frame:
    timestamp: float
    frame_timestamp_domain: timestamp_domain
    frame_number: int
    profile: stream_profile
    def get_data(self) -> object: ...
    def __bool__(self) -> bool: ...

class depth_frame(frame):
    def get_units(self) -> float: ...

class composite_frame(frame):
    def size(self) -> int: ...
    def get_color_frame(self) -> frame: ...
    def get_depth_frame(self) -> depth_frame: ...

class syncer:
    def __init__(self, queue_size: int = 1) -> None: ...
    def try_wait_for_frames(self, timeout_ms: int = 5000) -> tuple[bool, composite_frame]: ...

class align:
    def __init__(self, align_to: stream) -> None: ...
    def process(self, frames: composite_frame) -> composite_frame: ...

class hole_filling_filter:
    def __init__(self, mode: int = 1) -> None: ...
    def process(self, frame: frame) -> frame: ...

class sensor:
    def supports(self, info: camera_info) -> bool: ...
    def get_info(self, info: camera_info) -> str: ...
    def get_stream_profiles(self) -> list[stream_profile]: ...
    def open(self, profiles: list[stream_profile]) -> None: ...
    def start(self, syncer: syncer) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...

class device:
    def supports(self, info: camera_info) -> bool: ...
    def get_info(self, info: camera_info) -> str: ...
    def query_sensors(self) -> list[sensor]: ...
    def is_connected(self) -> bool: ...

class software_video_frame:
    pixels: NDArray[np.generic]
    stride: int
    bpp: int
    timestamp: float
    domain: timestamp_domain
    frame_number: int
    profile: video_stream_profile
    depth_units: float

class software_sensor(sensor):
    def add_video_stream(self, stream: video_stream) -> stream_profile: ...
    def add_read_only_option(self, option: option, value: float) -> None: ...
    def on_video_frame(self, frame: software_video_frame) -> None: ...

class software_device(device):
    def register_info(self, info: camera_info, value: str) -> None: ...
    def add_sensor(self, name: str) -> software_sensor: ...
    def create_matcher(self, matcher: matchers) -> None: ...

class context:
    def query_devices(self) -> list[device]: ...

def rs2_project_point_to_pixel(intrin: intrinsics, point: list[float]) -> list[float]: ...
def rs2_deproject_pixel_to_point(intrin: intrinsics, pixel: list[float], depth: float) -> list[float]: ...
