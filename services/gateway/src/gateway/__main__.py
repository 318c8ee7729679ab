from chassis.service import run
from chassis.settings import load
from gateway.service import build
from gateway.settings import GatewaySettings

if __name__ == "__main__":
    run(build(load(GatewaySettings)))
