import numpy as np
import pytest
import torch

from rsd_model.geometry import base_to_lidar_points
from rsd_model.heads.risk import RiskHead, RiskHeadConfig, bev_cells, risk_map_to_grid
from rsd_model.losses.risk import RiskLoss, RiskTargets

SHAPE, CHANNELS = (40, 20), 12  # rows along y, columns along x
CONFIG = RiskHeadConfig(range=(-10.0, -20.0, 10.0, 20.0), map_resolution=1.0, dims=16, layers=1, heads=2, points=4)


def head(config=CONFIG, **settings):
    torch.manual_seed(0)
    return RiskHead(config, CHANNELS, SHAPE, **settings)


def features(seed=0):
    return torch.randn(2, CHANNELS, *SHAPE, generator=torch.Generator().manual_seed(seed))


def layouts(bev):
    flat = bev.flatten(2)
    return {"b_c_h_w": bev, "b_hw_c": flat.transpose(1, 2), "hw_b_c": flat.permute(2, 0, 1)}


def test_risks_are_probabilities_of_the_documented_shapes():
    output = head()(features() * 30, torch.rand(2, 7, 2))
    assert output.object_risk.shape == (2, 7)
    assert output.risk_map.shape == (2, *CONFIG.map_shape) == (2, 40, 20)
    for risk in output:
        assert risk.min() >= 0.0
        assert risk.max() <= 1.0


@pytest.mark.parametrize("layout", ["b_c_h_w", "b_hw_c", "hw_b_c"])
def test_every_layout_of_the_same_features_gives_the_same_risk(layout):
    reference = torch.rand(2, 7, 2)
    expected = head()(features(), reference)
    given = layouts(features())[layout]
    for named in (None, layout):
        output = head(layout=named)(given, reference)
        torch.testing.assert_close(tuple(output), tuple(expected))


def test_features_that_fit_no_layout_or_two_are_refused_with_their_shape():
    with pytest.raises(ValueError, match=r"shape \(2, 12, 20, 40\) fit no layout"):
        bev_cells(torch.zeros(2, 12, 20, 40), SHAPE, CHANNELS)
    with pytest.raises(ValueError, match=r"fit \['b_hw_c', 'hw_b_c'\]"):
        bev_cells(torch.zeros(6, 6, 4), (2, 3), 4)
    assert bev_cells(torch.zeros(6, 6, 4), (2, 3), 4, layout="hw_b_c").shape == (6, 6, 4)
    with pytest.raises(ValueError, match="layout 'hwbc' is none of"):
        RiskHead(CONFIG, CHANNELS, SHAPE, layout="hwbc")


def test_an_object_looks_at_the_bev_around_its_own_position():
    row, column = 30, 5
    at, away = ((column + 0.5) / SHAPE[1], (row + 0.5) / SHAPE[0]), (0.9, 0.1)
    reference = torch.tensor([[at, away]])
    bev, changed = torch.zeros(1, CHANNELS, *SHAPE), torch.zeros(1, CHANNELS, *SHAPE)
    changed[:, :, row - 1 : row + 2, column - 1 : column + 2] = 5.0
    with torch.no_grad():
        before, after = (head()(x, reference).object_risk[0] for x in (bev, changed))
    assert (after - before)[0].abs() > 1e-4
    assert (after - before)[1].abs() == 0.0


def test_the_risk_map_lies_over_the_bev():
    """A change in one BEV cell shows in the map around the same place, at equal and at other resolutions."""
    for resolution in (0.5, 1.0, 2.0):
        config = RiskHeadConfig(range=CONFIG.range, map_resolution=resolution, dims=16, heads=2)
        row, column = 30, 4
        changed = torch.zeros(1, CHANNELS, *SHAPE)
        changed[:, :, row, column] = 9.0
        with torch.no_grad():
            before, after = (head(config)(x, torch.zeros(1, 1, 2)).risk_map[0] for x in (changed * 0, changed))
        place = config.cell_centres()[((after - before).abs() > 1e-6).numpy()]
        centre = (place.min(0) + place.max(0)) / 2
        assert np.abs(centre - [-10 + 4.5, -20 + 30.5]).max() <= resolution


def test_object_features_enter_exactly_when_the_head_was_built_for_them():
    reference = torch.rand(2, 7, 2)
    with_queries = head(query_channels=5)
    torch.manual_seed(1)
    first, second = (with_queries(features(), reference, torch.randn(2, 7, 5)).object_risk for _ in range(2))
    assert (first - second).abs().max() > 1e-4
    with pytest.raises(ValueError, match="needs query_features"):
        with_queries(features(), reference)
    with pytest.raises(ValueError, match="without query_channels"):
        head()(features(), reference, torch.randn(2, 7, 5))


def test_learns_scores_of_known_objects_while_unknown_ones_stay_free():
    bev, reference = features(), torch.rand(2, 6, 2, generator=torch.Generator().manual_seed(3))
    scores = torch.tensor([[0.9, 0.1, float("nan"), 0.5, 0.7, float("nan")]]).repeat(2, 1)
    model, loss = head(), RiskLoss(CONFIG)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        terms = loss(model(bev, reference), RiskTargets(scores, torch.full((2, 40, 20), 0.3)))
        sum(terms.values()).backward()
        optimiser.step()
    assert terms["object_risk"] < 0.08
    assert terms["risk_map"] < 0.08


def test_reference_points_put_the_range_on_the_unit_square():
    positions = [torch.tensor([[-10.0, -20.0, 1.0], [10.0, 20.0, 1.0]]), torch.tensor([[5.0, 0.0, 0.0]])]
    points = CONFIG.reference_points(positions)
    expected = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[0.75, 0.5], [0.5, 0.5]]])
    torch.testing.assert_close(points, expected)


def test_the_grid_in_base_link_holds_each_risk_at_its_own_place():
    generator = np.random.default_rng(0)
    risk_map = generator.random(CONFIG.map_shape)
    grid = risk_map_to_grid(risk_map, CONFIG)
    assert grid.values.shape == (20, 40)  # rows along base_link y, columns along x
    for row, column in generator.integers(0, 20, (30, 2)):
        place = np.array(grid.origin) + (np.array([column, row]) + 0.5) * grid.resolution
        x, y = base_to_lidar_points(place)
        there = risk_map[int((y + 20.0) // 1.0), int((x + 10.0) // 1.0)]
        assert grid.values[row, column] == pytest.approx(there, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"map_resolution": 0.7}, r"risk_head.map_resolution = 0.7: allowed is a divisor of both sides"),
        ({"range": (1.0, 0.0, 0.0, 1.0)}, "minima below maxima"),
        ({"dims": 30, "heads": 4}, "a multiple of heads = 4"),
        ({"ranking": "pairwise"}, "hinge, logistic"),
        ({"match_radius": 0.0}, "match_radius = 0.0: allowed is > 0"),
        ({"radius": 2.0}, "unknown key risk_head.radius = 2.0: allowed are .*match_radius"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name_value_and_what_is_allowed(settings, message):
    with pytest.raises(ValueError, match=message):
        RiskHeadConfig.from_dict(settings)


def test_settings_read_from_yaml_override_the_defaults_of_the_host():
    config = RiskHeadConfig.from_dict({"dims": 32, "range": [-1, -2, 1, 2]}, range=CONFIG.range, points=2)
    assert config == RiskHeadConfig(range=(-1.0, -2.0, 1.0, 2.0), dims=32, points=2)


def test_exports_as_one_graph():
    model, inputs = head().eval(), (features(), torch.rand(2, 7, 2))
    with torch.no_grad():
        program = torch.export.export(model, inputs)
        torch.testing.assert_close(tuple(program.module()(*inputs)), tuple(model(*inputs)))
