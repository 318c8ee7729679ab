from chassis.service import main
from gateway.service import build
from gateway.settings import GatewaySettings

if __name__ == "__main__":
    main(GatewaySettings, build)
