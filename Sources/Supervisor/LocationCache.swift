/// On which node a job of another one was found. Bounded: two generations, of which the older is dropped when the younger
/// is full, so that what is asked for stays.
struct LocationCache: Sendable {
  private static let generation = 32_768
  private var young: [JobID: NodeName] = [:]
  private var old: [JobID: NodeName] = [:]

  subscript(id: JobID) -> NodeName? {
    mutating get {
      if let node = young[id] { return node }
      guard let node = old.removeValue(forKey: id) else { return nil }
      self[id] = node
      return node
    }
    set {
      old[id] = nil
      if newValue != nil && young.count >= Self.generation {
        old = young
        young = [:]
      }
      young[id] = newValue
    }
  }
}
