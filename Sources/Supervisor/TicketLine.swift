import DequeModule

/// Tickets of one executor in the order of their positions, each once. Most are added at the end and taken at the
/// beginning, which costs the same however many there are.
struct TicketLine: Sendable {
  private var tickets = Deque<Backlog.Ticket>()

  var first: Backlog.Ticket? { tickets.first }

  mutating func removeFirst() { tickets.removeFirst() }

  /// Adds tickets, which are in order, each unless it is there.
  mutating func merge(_ new: [Backlog.Ticket]) {
    guard let last = tickets.last, let first = new.first, last.position >= first.position else {
      return tickets.append(contentsOf: new)
    }
    guard new.count >= 32 else {
      for ticket in new { insert(ticket) }
      return
    }
    var merged = Deque<Backlog.Ticket>(minimumCapacity: tickets.count + new.count)
    var rest = new[...]
    for ticket in tickets {
      while let next = rest.first, next.position < ticket.position { merged.append(rest.removeFirst()) }
      if rest.first == ticket { rest.removeFirst() }
      merged.append(ticket)
    }
    merged.append(contentsOf: rest)
    tickets = merged
  }

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
