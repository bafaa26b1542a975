"""The top-level document, `model.yaml`."""

from typing import Annotated

from msgspec import Meta

from .base import NonNegativeInt, Spec
from .cluster import Cluster
from .hardware import Device
from .model import Model
from .profile import Profile
from .serving import Serving
from .slo import SLO
from .workload import Workload


class Experiment(Spec):
    """One chip, one model, one traffic; with `cluster`, servers in pools. Paths are relative to the file."""

    device: Device
    model: Model
    workload: Workload
    serving: Serving = Serving()
    cluster: Cluster | None = None
    profile: Profile | None = None
    slo: SLO = SLO()
    seed: NonNegativeInt = 0
    name: Annotated[str, Meta(min_length=1, max_length=200)] = "experiment"
