from .cli.progress import show_progress as show_progress
from .core.step import Step as Step
from .corrections.bkg_removal import BackgroundRemoval as BackgroundRemoval
from .corrections.clahe import CLAHE as CLAHE
from .corrections.cropping import Cropping as Cropping
from .corrections.cropping import CroppingFinal as CroppingFinal
from .corrections.destriping import Destriping as Destriping
from .corrections.equalization import Equalization as Equalization
from .corrections.gamma import Gamma as Gamma
from .corrections.intensity_rescaling import IntensityRescaling as IntensityRescaling
from .corrections.intensity_rescaling_area import IntensityRescalingArea as IntensityRescalingArea
from .corrections.percentile_clipping import PercentileClipping as PercentileClipping
from .corrections.registration_calculation import (
    RegistrationCalculation as RegistrationCalculation,
)
from .corrections.registration_transformation import (
    RegistrationTransformation as RegistrationTransformation,
)
from .corrections.resampling import Resampling as Resampling
from .corrections.slice_check import SliceCheck as SliceCheck
from .corrections.slice_repair import SliceRepair as SliceRepair
from .errors import AccessError as AccessError
from .errors import DamageError as DamageError
from .errors import DeviceError as DeviceError
from .errors import ExportError as ExportError
from .errors import FitRequiredError as FitRequiredError
from .errors import HeadersError as HeadersError
from .errors import LockedError as LockedError
from .errors import ParameterError as ParameterError
from .errors import PixelError as PixelError
from .errors import Problem as Problem
from .errors import RoomError as RoomError
from .errors import RunError as RunError
from .errors import SourceError as SourceError
from .errors import StackError as StackError
from .errors import VersionError as VersionError
from .kernels.destriping.noise_model import Dirac as Dirac
from .kernels.destriping.noise_model import Gabor as Gabor
from .kernels.destriping.wavelets import WaveletDecomposition as WaveletDecomposition
from .lazy.corrections import Fit as Fit
from .lazy.corrections import correct as correct
from .lazy.corrections import fit as fit
from .lazy.corrections import open_result as open_result
from .lazy.corrections import open_stack as open_stack
from .lazy.corrections import to_source_type as to_source_type
from .pipeline import Pipeline as Pipeline

__version__: str
