/// The candidate that a mistyped word most likely stands for, if any is near: at most a third of its letters wrong.
func suggestion(for word: String, among candidates: [String]) -> String? {
  let word = word.lowercased()
  let nearest = candidates.map { ($0, editDistance(word, $0.lowercased())) }.min { $0.1 < $1.1 }
  guard let (candidate, distance) = nearest, distance <= max(1, max(word.count, candidate.count) / 3) else {
    return nil
  }
  return candidate
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour (optimal string alignment).
func editDistance(_ a: String, _ b: String) -> Int {
  let a = Array(a)
  let b = Array(b)
  var beforePrevious: [Int] = []
  var previous = Array(0...b.count)
  for i in 0..<a.count {
    var current = [i + 1]
    for j in 0..<b.count {
      var best = min(previous[j + 1] + 1, current[j] + 1, previous[j] + (a[i] == b[j] ? 0 : 1))
      if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { best = min(best, beforePrevious[j - 1] + 1) }
      current.append(best)
    }
    (beforePrevious, previous) = (previous, current)
  }
  return previous[b.count]
}
