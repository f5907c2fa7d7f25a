import DequeModule

/// Tickets of one executor in the order of their positions, each once. Most are added at the end and taken at the
/// beginning, which costs the same however many there are.
struct TicketLine: Sendable {
  private var tickets = Deque<Backlog.Ticket>()

  var first: Backlog.Ticket? { tickets.first }

  mutating func removeFirst() { tickets.removeFirst() }

  /// Adds a ticket at its place, unless it is there.
  mutating func insert(_ ticket: Backlog.Ticket) {
    guard let last = tickets.last, last.position >= ticket.position else { return tickets.append(ticket) }
    var (low, high) = (0, tickets.count)
    while low < high {
      let middle = (low + high) / 2
      if tickets[middle].position < ticket.position { low = middle + 1 } else { high = middle }
    }
    if tickets[low] != ticket { tickets.insert(ticket, at: low) }
  }
}
