from chassis.service import main
from scanner.service import build
from scanner.settings import ScannerSettings

if __name__ == "__main__":
    main(ScannerSettings, build)
