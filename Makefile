# make demo   drives; makes the environment first        make demo ARGS="--town birch --duration 60"
# make test   runs every test                            make test ARGS="-k risk"
#             those of the nodes on the Kilted wheels    make test ROS=kilted
# make setup  makes the environment for development
ROS ?= jazzy
PYTHON ?= python3
ARGS ?=
VENV := $(if $(filter jazzy,$(ROS)),.venv,.venv-$(ROS))
# What does not touch ROS is the same on every distribution.
TESTS := $(if $(filter jazzy,$(ROS)),,test/ros test/packaging)
SETUP := $(PYTHON) tools/setup_environment.py --venv $(VENV) --ros $(ROS)

# ROS comes from wheels here: a ROS installation whose setup file was sourced would be imported in their place.
unexport PYTHONPATH RMW_IMPLEMENTATION
ifdef AMENT_PREFIX_PATH
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH
endif

# Images need a larger shared-memory segment than Fast DDS has by default, and the allocator has to keep large blocks
# instead of returning them to the system between two images.
PROFILE_VARIABLE := $(if $(filter jazzy,$(ROS)),FASTRTPS,FASTDDS)_DEFAULT_PROFILES_FILE
export $(PROFILE_VARIABLE) ?= $(CURDIR)/config/fastdds.xml
export MALLOC_MMAP_THRESHOLD_ ?= 33554432
export MALLOC_TRIM_THRESHOLD_ ?= 268435456
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST

.PHONY: demo test setup clean

demo:
	@$(SETUP)
	@$(VENV)/bin/python -m rsd_ros.demo $(ARGS)

test:
	@$(SETUP) --develop
	@$(VENV)/bin/python -m pytest $(TESTS) $(ARGS)

setup:
	@$(SETUP) --develop

clean:
	rm -rf .venv .venv-kilted build install log out
