import uvicorn

from strategies.chainfile import ChainFileError
from tastysim.scenario import ScenarioError
from tastysim.service import build
from tastysim.settings import load

if __name__ == "__main__":
    settings = load()
    try:
        app = build(settings)
    except ChainFileError as error:
        raise SystemExit(f"TT_TASTYSIM_MARKET: {error}") from None
    except ScenarioError as error:
        raise SystemExit(f"TT_TASTYSIM_SCENARIO: {error}") from None
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=3,  # a held request does not keep the process
    )
