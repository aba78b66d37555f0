"""The shipped table is the one that Keras downloads and the chapter used."""

import pytest

pytest.importorskip("pandas")

from benchmarks.boston import data

pytestmark = pytest.mark.once

COLUMNS = "CRIM,ZN,INDUS,CHAS,NOX,RM,AGE,DIS,RAD,TAX,PTRATIO,B,LSTAT,MEDV"


def test_the_columns_have_their_names():
    header = data.TABLE.read_text(encoding="utf-8").splitlines()[0]
    assert header == COLUMNS


def test_the_split_is_keras_s():
    split = data.shipped()
    assert split.x_train.shape == (404, 13) and split.x_test.shape == (102, 13)
    first = "1.23247 0 8.14 0 0.538 6.142 91.7 3.9769 4 307 21 396.9 18.72"
    assert split.x_train[0].tolist() == [float(figure) for figure in first.split()]
    assert split.y_train[0] == 15.2
    # No constant has a smaller test loss.
    assert split.y_test.var() == pytest.approx(83.24384851980008, rel=1e-12)
