from chassis.service import main
from executor.service import build
from executor.settings import ExecutorSettings

if __name__ == "__main__":
    main(ExecutorSettings, build)
