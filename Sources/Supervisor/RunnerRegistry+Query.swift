import Cluster
import ExactText

// Lists of jobs of the whole cluster: pages of all nodes, merged by the time of creation, newest first.

extension RunnerRegistry {
  /// One page, and where the next one begins.
  public struct Page: Sendable {
    public let jobs: [JobRecord]
    /// The nodes whose jobs are missing in it.
    public let unreachable: [NodeName]
    /// The nodes whose jobs are in it, and in the pages behind it.
    public let nodes: [NodeName]
    fileprivate let positions: Positions
    fileprivate let isLast: Bool

    fileprivate enum Positions: Sendable {
      case ofStore([String])
      /// For each job, and for the end of the page.
      case ofCluster([ClusterCursor], end: ClusterCursor)
    }

    /// The cursor of what comes after the first so many jobs of the page; `nil` when nothing does.
    public func cursor(after count: Int) -> String? {
      guard count < jobs.count || !isLast else { return nil }
      switch positions {
      case .ofStore(let positions): return count == 0 ? nil : positions[count - 1]
      case .ofCluster(let positions, let end): return count == jobs.count ? end.text : positions[count - 1].text
      }
    }

    /// The cursor of the next page; `nil` on the last.
    public var next: String? { cursor(after: jobs.count) }
  }

  /// Jobs that match, newest first.
  /// - Parameter nodes: whose jobs are listed, all of them or none: a list of many pages is made by those that made the
  ///   first; `nil` for whoever answers.
  /// - Throws: `nodeNotReached` for one of `nodes`.
  public func query(_ query: JobQuery, of nodes: [NodeName]? = nil) async throws(SupervisorError) -> Page {
    guard isClustered, context.shared == nil else {
      let page = try await ask(node, "") { try await $0.query(query) }
      return Page(
        jobs: page.jobs, unreachable: [], nodes: [node], positions: .ofStore(page.positions), isLast: page.isLast)
    }
    let positions = try ClusterCursor(query.cursor)
    let members = nodes ?? [node] + ownership.peers
    let asked = members.filter { !positions.isAtEnd($0) }
    let answers = await askEach(asked, query, positions)
    var pages: [NodeName: JobPage] = [:]
    var unreachable = nodes == nil ? ownership.absent : []
    for (node, answer) in answers {
      switch answer {
      case .success(let page): pages[node] = page
      case .failure(let error):
        if nodes != nil { throw error }
        unreachable.append(node)
      }
    }
    return Self.merge(
      pages, query, from: positions, nodes: members.filter { !unreachable.contains($0) },
      unreachable: unreachable.sorted())
  }

  private func askEach(
    _ nodes: [NodeName], _ query: JobQuery, _ positions: ClusterCursor
  ) async -> [(NodeName, Result<JobPage, SupervisorError>)] {
    await withTaskGroup(of: (NodeName, Result<JobPage, SupervisorError>).self) { group in
      for node in nodes {
        var part = query
        part.cursor = positions[node]
        let asked = part
        group.addTask {
          let answer: Result<JobPage, SupervisorError>
          do throws(SupervisorError) {
            answer = .success(try await self.ask(node, within: .seconds(5), "jobs", { try await $0.query(asked) }))
          } catch {
            answer = .failure(error)
          }
          return (node, answer)
        }
      }
      var answers: [(NodeName, Result<JobPage, SupervisorError>)] = []
      for await answer in group { answers.append(answer) }
      return answers
    }
  }

  /// The newest of all pages, as many as one page holds. It ends where a node's page ends before its jobs do: what comes
  /// after it may be newer than what the others have.
  private static func merge(
    _ pages: [NodeName: JobPage], _ query: JobQuery, from start: ClusterCursor, nodes: [NodeName],
    unreachable: [NodeName]
  ) -> Page {
    var position = start
    var positions: [ClusterCursor] = []
    var places = pages.mapValues { _ in 0 }
    var jobs: [JobRecord] = []
    var seen: Set<JobID> = []
    var bytes = 0
    func isBehind(_ a: NodeName, _ b: NodeName) -> Bool {
      let (first, second) = (pages[a]!.jobs[places[a]!], pages[b]!.jobs[places[b]!])
      return first.createdAt == second.createdAt ? a > b : first.createdAt < second.createdAt
    }
    for (node, page) in pages where page.jobs.isEmpty { position.end(node) }
    while jobs.count < query.limit, bytes <= query.maximumBytes || jobs.isEmpty {
      let open = places.keys.filter { places[$0]! < pages[$0]!.jobs.count }
      guard let next = open.max(by: isBehind), let page = pages[next] else { break }
      let place = places[next]!
      let record = page.jobs[place]
      places[next] = place + 1
      position[next] = page.positions[place]
      let isAtEnd = place + 1 == page.jobs.count
      if isAtEnd, page.isLast { position.end(next) }
      // A job on its way to a new owner may be at both for a moment.
      if seen.insert(record.job.id).inserted {
        jobs.append(record)
        positions.append(position)
        bytes += record.approximateBytes
      } else {
        positions[positions.count - 1] = position
      }
      if isAtEnd, !page.isLast { break }
    }
    return Page(
      jobs: jobs, unreachable: unreachable, nodes: nodes, positions: .ofCluster(positions, end: position),
      isLast: position.isComplete(pages.keys.sorted()))
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
