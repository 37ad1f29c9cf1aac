"""The definitions on the wire are those of CARLA's bridge, tf2 and ackermann_msgs: pinned by their RIHS01 hashes."""

import importlib

HASHES_BY_PACKAGE = {
    "carla_msgs": {
        "CarlaEgoVehicleControl": "4f251fa2a554e8ed996f77eb1d5b65515af1369eceb04d5122cb5761f7801be3",
        "CarlaEgoVehicleStatus": "3565cc74470f5c37eb316a36426effd811ac1baf835df3fc2bb7a88574bb3e07",
        "CarlaEgoVehicleInfo": "b8dc3866014924ce7fe57e0cff05a5448ec18f27156656b3b1b69f4da558e956",
        "CarlaEgoVehicleInfoWheel": "63caae9f2637752b93a616b10e00d21be15ca32cac533efd3596349a5cf4d4fe",
        "CarlaStatus": "a3f7fb6fc4b673840e0c092c3c9e52a8120885ba603e0125a23f58ac279c0c13",
        "CarlaControl": "7053e4e9ec21223b8f3a67944cc19fac0e419791a87e59438a56ba9efce2a9ac",
        "CarlaWorldInfo": "b7093c2a34078b682bef09c0e60c76b06542f8ab4ea69756f9505ca06655e9ab",
        "CarlaTrafficLightStatus": "e4a58f6956c9d395f8aa8df33b6aa2765cb83c8522ec3e676196dc49485bf0b8",
        "CarlaTrafficLightStatusList": "07f3b9ec436d9925e8b55f229d420336a997e824911afdb299f2dd0f32a26268",
        "CarlaTrafficLightInfo": "c6bc358a736c0843889a6f65d8070f9891619a250fcc58ad51ffb9f87dd138b4",
        "CarlaTrafficLightInfoList": "9a13ecb7abe8b5b53c9dc5b7794981c90bd04b0556f8ab66cf26863ac600fde6",
        "CarlaBoundingBox": "64150a58baddf4ecdfd2adcc41b74bc2a7caaa1677545e971b47623ca1c31b63",
        "CarlaCollisionEvent": "d77acb472c5effb98998bfb2e176ae3ffac0a84ce33a79f90e999544e3fcfeff",
        "CarlaLaneInvasionEvent": "ec4d0e28a97c4a7952a100d47a801996d0463ad7fe0e08a96049de4b19656508",
        "CarlaActorInfo": "2ca0a6e2b412f1ffeea438bde6683b1be0e46c52925ac45a6fe91f8cb3c4371c",
        "CarlaActorList": "9c84c0e4b7513532a2943a25c75d4a139d48f31288f5a2b68c289f1e0a0b1be1",
        "CarlaRoute": "ca0832402cb896e1fd0d7c215221568321effd570ca821aa1b0986aca81ce89b",
        "CarlaGnssRoute": "7f345c34d63b7237ede2959fc192faef7853f1798965b9480de532085a243cb7",
        "CarlaSpeedometer": "5eb8bb6e7c91d11710ff839b59659cf09701fff1ae8d6887d93bdbce0057b497",
    },
    "tf2_msgs": {
        "TFMessage": "e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
        "TF2Error": "db2485e7d6a0ec75bf087e058ee45df682acc3a621ca7780503d10aac141809a",
    },
    "ackermann_msgs": {
        "AckermannDrive": "acf287a224a947dd1b0b87d6d76cdb73f497b0237b8fc73be2173b2ebbb82c99",
        "AckermannDriveStamped": "48ca7612a08d3bb72744fd98b71b7cf2ea24c6ad50fa4e1aa0bbad963c90d8cf",
    },
    "std_msgs": {
        "Header": "f49fb3ae2cf070f793645ff749683ac6b06203e41c891e17701b1cb597ce6a01",
        "Bool": "feb91e995ff9ebd09c0cb3d2aed18b11077585839fb5db80193b62d74528f6c9",
        "Float32": "7170d3d8f841f7be3172ce5f4f59f3a4d7f63b0447e8b33327601ad64d83d6e2",
    },
    "nav_msgs": {
        "Odometry": "3cc97dc7fb7502f8714462c526d369e35b603cfc34d946e3f2eda2766dfec6e0",
        "Path": "1957a5bb3cee5da65c4e52e52b65a93df227efce4c20f8458b36e73066ca334b",
    },
    "sensor_msgs": {
        "Image": "d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47",
        "CameraInfo": "b3dfd68ff46c9d56c80fd3bd4ed22c7a4ddce8c8348f2f59c299e73118e7e275",
    },
    "rosgraph_msgs": {
        "Clock": "692f7a66e93a3c83e71765d033b60349ba68023a8c689a79e48078bcb5c58564",
    },
    "rsd": {
        "PlannedTrajectory": "14de085506a5e60675069f9c71581c52b149477f340f9d1663de624946d8495e",
        "CandidateTrajectory": "bdaa478ae56358992339381557b5162478254862650613b517b740cf2253c0a2",
        "RiskGrid": "f1c944affba0b15ca964ebf5d3d88317c22483d2c358e669f092271d65fae9c4",
        "RiskObject": "793590f12e8c7d4290dbc9e2e8409163117f758242b09d6d90aa596a43dbd733",
        "RiskObjectArray": "c2aaf95a1d7d025490761e0860f99114112cea373cfe8e0cb5247e0abd906ff2",
        "PredictedPath": "ea705d58c7faa7cf10960c6d75aecd7c835fa0f51ee695bf0b0064fc2e04271f",
        "PlannerStatus": "f7013502164724c9596b104ba2ee18747496b3a537336c66e3eec4e412188235",
        "CameraStatus": "2ff2103956a17b220d0518a2fe9ae406c31e410f0084e838f584c90d18a82add",
        "StageTiming": "6c8546f5883c82f0c92c7763deefcddacf58daf0d0e337282d7e747ed543701d",
    },
}
HASHES = {
    f"{package}/msg/{name}": f"RIHS01_{value}"
    for package, values in HASHES_BY_PACKAGE.items()
    for name, value in values.items()
}


def message_class(full_name):
    package, folder, name = full_name.split("/")
    return getattr(importlib.import_module(f"{package}.{folder}"), name)


def test_every_definition_announces_the_pinned_hash(ros_context):
    import rclpy

    node = rclpy.create_node("hashes", context=ros_context)
    for name in HASHES:
        node.create_publisher(message_class(name), f"/{name}", 1)
    announced = {name: str(node.get_publishers_info_by_topic(f"/{name}")[0].topic_type_hash) for name in HASHES}
    node.destroy_node()
    assert announced == HASHES


def test_every_definition_of_ours_is_pinned():
    from rsd_ros.build_messages import PACKAGES, source_folder

    defined = {
        f"{package}/msg/{path.stem}" for package in PACKAGES for path in source_folder(package).glob("msg/*.msg")
    }
    assert defined <= set(HASHES)


def test_no_field_has_a_default_value():
    """A default leaves the hash as it is and changes what a field says that nobody set."""
    for name in HASHES:
        if name.split("/")[0] in ("rsd", "carla_msgs", "ackermann_msgs"):
            message = message_class(name)()
            for field in message.get_fields_and_field_types():
                value = getattr(message, field)
                if isinstance(value, (bool, int, float, str)):
                    assert not value, f"{name}.{field} starts as {value!r}"
