from chassis.service import run
from chassis.settings import load
from executor.service import build
from executor.settings import ExecutorSettings

if __name__ == "__main__":
    run(build(load(ExecutorSettings)))
