/// News to pass on, at most one piece a member: what was sent least often goes first, of that the newest (SWIM, §4.1).
struct NewsQueue: Sendable {
  private struct Entry {
    let news: News
    var sent: Int
    let number: Int
  }

  private var entries: [MemberName: Entry] = [:]
  private var nextNumber = 0

  var count: Int { entries.count }

  /// Adds a piece; what was said of the same member before is out of date.
  mutating func add(_ news: News) {
    entries[news.name] = Entry(news: news, sent: 0, number: nextNumber)
    nextNumber += 1
  }

  /// What fits into `bytes`; each piece is forgotten when it was taken `limit` times.
  mutating func take(bytes: Int, limit: Int) -> [News] {
    guard !entries.isEmpty else { return [] }
    var room = bytes
    var taken: [News] = []
    for entry in entries.values.sorted(by: { ($0.sent, $1.number) < ($1.sent, $0.number) }) {
      let size = entry.news.encodedSize
      guard size <= room else { continue }
      room -= size
      taken.append(entry.news)
      if entry.sent + 1 >= limit {
        entries[entry.news.name] = nil
      } else {
        entries[entry.news.name]!.sent += 1
      }
      // No piece is smaller than this.
      if room < News.smallestSize { break }
    }
    return taken
  }
}
