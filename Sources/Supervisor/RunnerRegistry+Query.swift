import Cluster
import ExactText

// Lists of jobs of the whole cluster: pages of all nodes, merged by the time of creation, newest first.

extension RunnerRegistry {
  /// One page, its cursor, and the nodes whose jobs are missing in it.
  public struct Page: Sendable {
    public let jobs: [JobRecord]
    public let next: String?
    public let unreachable: [NodeName]
  }

  public func query(_ query: JobQuery) async throws(SupervisorError) -> Page {
    guard isClustered, context.shared == nil else {
      let page = try await ask(node, "") { try await $0.query(query) }
      return Page(jobs: page.jobs, next: page.next, unreachable: [])
    }
    var positions = try ClusterCursor(query.cursor)
    let nodes = ([node] + ownership.peers).filter { !positions.isAtEnd($0) }
    var pages: [NodeName: JobPage] = [:]
    var unreachable = ownership.absent
    await withTaskGroup(of: (NodeName, JobPage?).self) { group in
      for node in nodes {
        var part = query
        part.cursor = positions[node]
        let asked = part
        group.addTask {
          let page = try? await self.ask(node, within: .seconds(5), "", { try await $0.query(asked) })
          return (node, page)
        }
      }
      for await (node, page) in group {
        if let page { pages[node] = page } else { unreachable.append(node) }
      }
    }
    let jobs = merge(pages, query, &positions)
    let isLast = positions.isComplete(nodes.filter { pages[$0] != nil })
    return Page(jobs: jobs, next: isLast ? nil : positions.text, unreachable: unreachable.sorted())
  }

  /// The newest of all pages, as many as one page holds; `positions` tells where each node's next page begins. It ends
  /// where a node's page ends before its jobs do: what comes after it may be newer than what the others have.
  private func merge(
    _ pages: [NodeName: JobPage], _ query: JobQuery, _ positions: inout ClusterCursor
  ) -> [JobRecord] {
    var places = pages.mapValues { _ in 0 }
    var jobs: [JobRecord] = []
    var seen: Set<JobID> = []
    var bytes = 0
    func isBehind(_ a: NodeName, _ b: NodeName) -> Bool {
      let (first, second) = (pages[a]!.jobs[places[a]!], pages[b]!.jobs[places[b]!])
      return first.createdAt == second.createdAt ? a > b : first.createdAt < second.createdAt
    }
    for (node, page) in pages where page.jobs.isEmpty { positions.end(node) }
    while jobs.count < query.limit, bytes <= query.maximumBytes || jobs.isEmpty {
      let open = places.keys.filter { places[$0]! < pages[$0]!.jobs.count }
      guard let next = open.max(by: isBehind), let page = pages[next] else { break }
      let place = places[next]!
      let record = page.jobs[place]
      places[next] = place + 1
      positions[next] = page.positions[place]
      // A job on its way to a new owner may be at both for a moment.
      if seen.insert(record.job.id).inserted {
        jobs.append(record)
        bytes += 300 + record.job.payload.utf8.count + record.outcomeBytes
      }
      guard place + 1 == page.jobs.count else { continue }
      if page.isLast { positions.end(next) } else { break }
    }
    return jobs
  }
}

extension JobRecord {
  fileprivate var outcomeBytes: Int {
    switch result {
    case .success(let text), .error(let text): text.utf8.count
    case nil: 0
    }
  }
}

/// Where the next page of a list of the whole cluster begins: a position for each node that was asked.
struct ClusterCursor: Sendable {
  private var positions: [NodeName: String] = [:]
  private static let end = "end"

  /// - Throws: `invalidCursor`.
  init(_ text: String?) throws(SupervisorError) {
    guard let text else { return }
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while rest.count >= 2, let byte = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) {
      bytes.append(byte)
      rest = rest.dropFirst(2)
    }
    guard rest.isEmpty, let words = try? [String](wireBytes: bytes), !words.isEmpty, words.count.isMultiple(of: 2)
    else {
      throw .store(.invalidCursor(text))
    }
    for place in stride(from: 0, to: words.count, by: 2) {
      guard let node = try? NodeName(words[place]) else { throw .store(.invalidCursor(text)) }
      positions[node] = words[place + 1]
    }
  }

  /// In hexadecimal, so that it passes wherever a client puts it.
  var text: String {
    let words = positions.sorted { $0.key < $1.key }.flatMap { [$0.key.rawValue, $0.value] }
    return words.wireBytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  subscript(node: NodeName) -> String? {
    get { positions[node] }
    set { positions[node] = newValue }
  }

  mutating func end(_ node: NodeName) { positions[node] = Self.end }
  func isAtEnd(_ node: NodeName) -> Bool { positions[node]?.isExactly(Self.end) ?? false }
  func isComplete(_ nodes: [NodeName]) -> Bool { nodes.allSatisfy(isAtEnd) }
}
