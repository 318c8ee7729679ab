from chassis.service import main
from guardian.service import build
from guardian.settings import GuardianSettings

if __name__ == "__main__":
    main(GuardianSettings, build)
