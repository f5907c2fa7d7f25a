// For simulations of clusters that are there already; a node joins by `merge`.

extension SWIM {
  /// Takes over what another member knows, and has nothing to tell. Ten thousand members share the memory of it.
  package mutating func acquaint(with other: SWIM) {
    entries = other.entries
    order = other.order
    if other.name != name {
      order.remove(name)
      order.insert(other.name, using: &generator)
    }
    order.shuffle(using: &generator)
    memberDigest = other.memberDigest
    lastChange = now - settings.settleTime
    queue = SpreadQueue()
  }
}
