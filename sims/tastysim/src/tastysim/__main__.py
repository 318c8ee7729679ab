import uvicorn

from tastysim.service import build
from tastysim.settings import load

if __name__ == "__main__":
    settings = load()
    uvicorn.run(
        build(settings), host=settings.host, port=settings.port, log_level="warning", ws_per_message_deflate=False
    )
