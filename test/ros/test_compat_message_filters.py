"""Joining topics by time: the same suite for the real message_filters and for ours."""

from std_msgs.msg import Header

from rsd_ros.compat import message_filters


class Stamped:
    """All that a synchronizer looks at."""

    def __init__(self, seconds: float) -> None:
        self.header = Header()
        nanoseconds = round(seconds * 1e9)
        self.header.stamp.sec, self.header.stamp.nanosec = divmod(nanoseconds, 10**9)
        self.seconds = seconds


def joined(synchronizer_class, arrivals, sources, **options):
    """The sets of stamps that leave when (source, stamp) arrive in this order."""
    filters = [message_filters.SimpleFilter() for _ in range(sources)]
    synchronizer = synchronizer_class(filters, **options)
    sets = []
    synchronizer.registerCallback(lambda *messages: sets.append(tuple(m.seconds for m in messages)))
    for source, seconds in arrivals:
        filters[source].signalMessage(Stamped(seconds))
    return sets


def approximate(arrivals, sources=3, slop=0.02, queue_size=10):
    return joined(message_filters.ApproximateTimeSynchronizer, arrivals, sources, queue_size=queue_size, slop=slop)


def test_a_set_leaves_with_its_last_message_in_the_order_of_the_sources():
    assert approximate([(2, 1.01), (0, 1.0), (1, 1.005)]) == [(1.0, 1.005, 1.01)]


def test_nothing_leaves_while_one_source_is_silent():
    assert approximate([(0, 1.0), (1, 1.0), (0, 1.1), (1, 1.1)]) == []


def test_messages_further_apart_than_the_slop_do_not_meet():
    assert approximate([(0, 1.0), (1, 1.0), (2, 1.05)]) == []


def test_the_spread_of_a_whole_set_stays_within_the_slop():
    assert approximate([(0, 0.985), (1, 1.015), (2, 1.0)]) == []


def test_the_nearest_message_is_taken():
    assert approximate([(0, 1.0), (0, 1.008), (1, 1.009), (2, 1.01)]) == [(1.008, 1.009, 1.01)]


def test_a_message_is_used_once():
    assert approximate([(0, 1.0), (1, 1.0), (2, 1.0), (2, 1.001)]) == [(1.0, 1.0, 1.0)]


def test_the_queue_forgets_its_oldest_message():
    assert approximate([(0, 1.0), (0, 2.0), (0, 3.0), (1, 1.0), (2, 1.0)], queue_size=2) == []


def test_exact_synchronisation_joins_equal_stamps_alone():
    arrivals = [(0, 1.0), (1, 1.001), (1, 1.0), (0, 2.0), (1, 2.0)]
    assert joined(message_filters.TimeSynchronizer, arrivals, 2, queue_size=5) == [(1.0, 1.0), (2.0, 2.0)]


def test_subscribers_join_what_comes_over_the_graph(ros_context, spin_until):
    import rclpy
    from sensor_msgs.msg import CameraInfo

    node = rclpy.create_node("join", context=ros_context)
    subscribers = [message_filters.Subscriber(node, CameraInfo, f"/camera_{i}") for i in range(2)]
    sets = []
    synchronizer = message_filters.ApproximateTimeSynchronizer(subscribers, queue_size=5, slop=0.01)
    synchronizer.registerCallback(lambda *messages: sets.append([m.width for m in messages]))
    publishers = [node.create_publisher(CameraInfo, f"/camera_{i}", 10) for i in range(2)]
    assert spin_until([node], lambda: all(p.get_subscription_count() for p in publishers))
    for width, publisher in enumerate(publishers):
        publisher.publish(CameraInfo(header=Stamped(5.0).header, width=width))
    assert spin_until([node], lambda: sets)
    node.destroy_node()
    assert sets == [[0, 1]]
