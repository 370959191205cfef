"""`GET /schema`."""

from typing import Any, Final

from drf_spectacular.views import SpectacularAPIView
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from market.printable import controls

_LONGEST: Final = 40


class SchemaView(SpectacularAPIView):
    """The schema; `version` is put into the name of the file, which is a header."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        version = request.query_params.get("version", "")
        if len(version) > _LONGEST or controls(version):
            raise ValidationError({"version": f"Expected at most {_LONGEST} printable characters, like 1.0."})
