import HeapModule

/// What a queue passes on.
protocol Spreadable: Sendable {
  associatedtype Subject: Hashable & Sendable
  /// Of two pieces about one subject only the later is passed on.
  var subject: Subject { get }
  /// In a packet, in bytes.
  var encodedSize: Int { get }
  /// The least that any piece takes.
  static var smallestSize: Int { get }
}

/// What is to be passed on, at most one piece a subject: what was sent least often goes first, of that the newest (SWIM,
/// §4.1).
struct SpreadQueue<Piece: Spreadable>: Sendable {
  private struct Entry {
    let piece: Piece
    var sent: Int
    let number: Int
  }

  /// A place in the order; out of date when the entry has another number or was sent since.
  private struct Place: Comparable {
    let sent: Int
    let number: Int
    let subject: Piece.Subject
    static func < (a: Place, b: Place) -> Bool { (a.sent, b.number) < (b.sent, a.number) }
    static func == (a: Place, b: Place) -> Bool { (a.sent, a.number) == (b.sent, b.number) }
  }

  private var entries: [Piece.Subject: Entry] = [:]
  private var order = Heap<Place>()
  private var nextNumber = 0

  var isEmpty: Bool { entries.isEmpty }
  var count: Int { entries.count }

  /// Adds a piece; what was said of the same subject before is out of date.
  mutating func add(_ piece: Piece) {
    entries[piece.subject] = Entry(piece: piece, sent: 0, number: nextNumber)
    order.insert(Place(sent: 0, number: nextNumber, subject: piece.subject))
    nextNumber += 1
    // Places out of date go when their turn comes; it may never come.
    if order.count > 2 * entries.count + 64 {
      order = Heap(entries.values.map { Place(sent: $0.sent, number: $0.number, subject: $0.piece.subject) })
    }
  }

  mutating func remove(_ subject: Piece.Subject) { entries[subject] = nil }

  /// What fits into packets, each piece once. It is forgotten when it was sent `limit` times.
  /// - Parameters:
  ///   - rooms: the bytes that are free in each packet, which grow less.
  ///   - copies: to how many members these packets go.
  mutating func take(into rooms: inout [Int], limit: Int, copies: Int = 1) -> [[Piece]] {
    var packets = [[Piece]](repeating: [], count: rooms.count)
    var packet = 0
    var taken: [Place] = []
    var tooLarge: [Place] = []
    // A few are tried for what is left of the last packet, not all of thousands.
    while packet < rooms.count, tooLarge.count < 4, let place = order.popMin() {
      guard let entry = entries[place.subject], entry.number == place.number, entry.sent == place.sent else { continue }
      let size = entry.piece.encodedSize
      while packet < rooms.count - 1 && size > rooms[packet] { packet += 1 }
      guard size <= rooms[packet] else {
        tooLarge.append(place)
        continue
      }
      rooms[packet] -= size
      packets[packet].append(entry.piece)
      taken.append(place)
      if rooms[packet] < Piece.smallestSize { packet += 1 }
    }
    for place in tooLarge { order.insert(place) }
    for place in taken {
      let sent = place.sent + copies
      if sent >= limit {
        entries[place.subject] = nil
      } else {
        entries[place.subject]!.sent = sent
        order.insert(Place(sent: sent, number: place.number, subject: place.subject))
      }
    }
    return packets
  }
}
