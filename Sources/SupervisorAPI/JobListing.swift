import JSONRPC
import Supervisor

/// The whole list of jobs as `jobs.list` answers it, made a page at a time while it is sent: however long it is, the node
/// holds one page.
///
/// The members that answer first make the list to its end. One that is lost midway ends it without an end, so that nobody
/// takes a part for the whole.
actor JobListing {
  /// Of a page as it is read, from all members together; a job that is larger comes in a page of its own.
  static let pageBytes = 256 * 1024

  private let registry: RunnerRegistry
  private let call: APICall
  private var query: JobQuery
  /// Who makes the list; `nil` until the first page.
  private var nodes: [NodeName]?
  private var separator = UInt8(ascii: "[")
  private var isComplete = false

  /// - Throws: -32009 when there is no room for its pages.
  init(_ registry: RunnerRegistry, _ call: APICall, of grant: Grant) throws(JSONRPCError) {
    self.registry = registry
    self.call = call
    query = JobQuery(limit: 1000, maximumBytes: Self.pageBytes, parts: [.payload, .environment])
    query.runners = grant.runners
    // Given back at the end of the list, or by its connection at the end of the answer.
    try call.take(Self.pageBytes)
  }

  /// The next piece of the list as JSON text; `nil` after the last.
  func next() async throws(JSONRPCError) -> [UInt8]? {
    guard !isComplete else { return nil }
    let (asked, nodes) = (query, self.nodes)
    let page = try await answering { () async throws(SupervisorError) in try await registry.query(asked, of: nodes) }
    if nodes == nil {
      call.missing?.add(page.unreachable)
      self.nodes = page.nodes
    }
    var bytes: [UInt8] = []
    for record in page.jobs {
      bytes.append(separator)
      separator = UInt8(ascii: ",")
      JSON.job(record).write(into: &bytes)
    }
    query.cursor = page.next
    guard page.next == nil else { return bytes }
    if separator == UInt8(ascii: "[") { bytes.append(separator) }
    bytes.append(UInt8(ascii: "]"))
    isComplete = true
    call.giveBack(Self.pageBytes)
    return bytes
  }
}
