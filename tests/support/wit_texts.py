"""Small WIT packages for tests."""

from __future__ import annotations

from pathlib import Path

from dataflare.wit.catalog import Catalog
from dataflare.wit.resolve import load

EXAMPLE = """\
/// A package.
package acme:shop@1.2.0;

/// Goods.
@since(version = 1.0.0)
interface goods {
  /// What it is.
  @since(version = 1.0.0)
  record item {
    /// Its name.
    name: string,
    /// Its price.
    price: option<f64>,
  }
  /// Why not.
  @since(version = 1.0.0)
  variant shop-error {
    /// Nothing left.
    sold-out,
    /// Anything else.
    other(string),
  }
  /// How to send it.
  @since(version = 1.0.0)
  enum delivery {
    /// Slowly.
    post,
    /// At once.
    courier,
  }
  /// A basket.
  @since(version = 1.0.0)
  resource basket {
    /// An empty one.
    constructor();
    /// Put something in.
    add: func(thing: item);
  }
  /// Look for things.
  @since(version = 1.0.0)
  find: func(text: string, limit: u32) -> result<list<item>, shop-error>;
}

/// A shop's world.
@since(version = 1.0.0)
world shop {
  import goods;
  /// Open it.
  export open-shop: func(name: string);
}
"""


def catalog_of(folder: Path, *texts: str) -> Catalog:
    """Write each text into a folder of its own and load them."""
    for number, text in enumerate(texts):
        package = folder / f"package-{number}"
        package.mkdir(parents=True)
        (package / "package.wit").write_text(text, encoding="utf-8")
    return load(folder)
