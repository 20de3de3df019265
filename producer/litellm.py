"""A callback for LiteLLM's proxy and SDK: each call that it logs becomes a usage event.

In the proxy's configuration:

    litellm_settings:
      callbacks: usagepipe.producer.litellm.usage_logger

LiteLLM reports a call after its answer, in a separate task, so no request waits. It reports some
failures twice, with its async and its sync hook; each is recorded once.
"""

from collections import OrderedDict
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from pydantic import ValidationError

from usagepipe.producer.delivery.recorder import Recorder, UsageRecorder
from usagepipe.producer.process.native import Lock
from usagepipe.producer.process.safe_log import describe, log
from usagepipe.producer.watching.body_prefix import asks_no_model
from usagepipe.producer.watching.callers import Caller
from usagepipe.producer.watching.events import wrong_fields
from usagepipe.producer.watching.litellm_calls import fields_of, traceparent_of, usage_of
from usagepipe.producer.watching.parts import parts_of
from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.event import UsageEvent

try:
    from litellm.integrations.custom_logger import CustomLogger
except ImportError as error:
    raise ImportError(
        "usagepipe.producer.litellm is a callback for LiteLLM, which is not installed here: "
        "pip install 'litellm[proxy]'"
    ) from error

# Recently reported calls: the second report of a failure follows at once.
REMEMBERED_CALLS: Final = 10_000


class UsageLogger(CustomLogger):
    """Records the calls of one LiteLLM process. It connects with the first call.

    `recorder` is made from the environment unless it is given. `caller` owns the calls if LiteLLM
    does not know the caller: in a program that uses its SDK without the proxy.
    """

    def __init__(self, recorder: Recorder | None = None, caller: Caller | None = None) -> None:
        super().__init__()
        self._recorder = recorder
        self._caller = caller
        self._refused = False  # the settings are wrong: logged once
        self._reported: OrderedDict[tuple[str, float], None] = OrderedDict()
        self._lock = Lock()

    async def async_log_success_event(
        self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """LiteLLM's hook for a call that was answered, and for one that failed."""
        self._log(kwargs)

    async_log_failure_event = async_log_success_event

    def log_success_event(
        self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """The same for its sync SDK."""
        self._log(kwargs)

    log_failure_event = log_success_event

    def _log(self, kwargs: Mapping[str, Any]) -> None:
        payload = kwargs.get("standard_logging_object")
        if not isinstance(payload, Mapping) or self._refused:
            return
        try:
            if self._is_first_report(payload):
                self._record(payload, traceparent_of(kwargs))
        except SettingsError as error:
            self._refused = True
            log.error("usage_logger_refused", problems=str(error))
        except Exception as error:
            self._leave_out(payload, describe(error))

    def _record(self, payload: Mapping[str, Any], traceparent: str) -> None:
        recorder = self._recorder = self._recorder or UsageRecorder()
        fields = fields_of(payload, version("litellm"), self._caller, traceparent)
        if asks_no_model(fields["endpoint"]):
            recorder.counters.leave_out(fields["endpoint"], "no_usage")
            return
        if not fields["user_id"]:
            recorder.counters.leave_out(fields["endpoint"], "no_user")
            return
        try:
            event = UsageEvent.new(**fields)
        except ValidationError as error:
            self._leave_out(payload, wrong_fields(error))
        else:
            for each in (event, *parts_of(event, usage_of(payload))):
                recorder.record(each)

    def _leave_out(self, payload: Mapping[str, Any], detail: str) -> None:
        endpoint = str(payload.get("call_type", ""))
        counters = self._recorder.counters if self._recorder else None
        if counters is None or counters.leave_out(endpoint, "record_failed"):
            log.error("usage_unrecorded", endpoint=endpoint, detail=detail)

    def _is_first_report(self, payload: Mapping[str, Any]) -> bool:
        """Whether this is the first report of a call. Each attempt has its own start time."""
        call = (str(payload.get("litellm_call_id")), float(payload.get("startTime") or 0))
        with self._lock:
            if call in self._reported:
                return False
            self._reported[call] = None
            while len(self._reported) > REMEMBERED_CALLS:
                self._reported.popitem(last=False)
            return True


usage_logger: Final = UsageLogger()
