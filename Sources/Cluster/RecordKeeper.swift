import EventLoop
import ExactText
import Gossip
import Logging

/// Keeps a node's records on its disk, whether or not it is in a cluster, and changes them. What is changed here is on the
/// disk, and known to the peers that can be reached, when the change returns; what others change is written soon.
public actor RecordKeeper {
  private nonisolated let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  nonisolated let rules: RecordRules
  private let author: MemberName
  private let file: RecordFile
  private let logger: Logger
  private let onChange: @Sendable (Record) -> Void
  private var map: RecordMap
  private weak var cluster: ClusterNode?
  /// Changes so far, and how many of them are on the disk.
  private var changes: UInt64 = 0
  private var written: UInt64 = 0
  private var isWriting = false
  private var writer: Task<Void, Never>?
  private var isClosed = false
  private let ends: Waiters

  /// Reads what the node knew in its former run. Blocking.
  /// - Parameters:
  ///   - path: of the file.
  ///   - author: this node.
  ///   - rules: of the kinds of records.
  ///   - onChange: gets each record that is read, or wins from now on; on the loop but for those that are read.
  public init(
    path: String, author: MemberName, rules: RecordRules, on loop: EventLoop, logger: Logger,
    onChange: @escaping @Sendable (Record) -> Void
  ) throws(RecordsUnreadable) {
    self.loop = loop
    self.author = author
    self.rules = rules
    self.logger = logger
    self.onChange = onChange
    file = RecordFile(path: path)
    map = RecordMap(rules: rules)
    ends = Waiters(on: loop)
    for record in try file.read() where map.merge(record, date: GossipNode.date) { onChange(record) }
  }

  public var records: [Record] { map.all }

  /// What a change makes of a subject.
  public enum Change: Sendable {
    case state(body: [UInt8])
    case remove(body: [UInt8])
  }

  /// Changes what is said of a subject.
  /// - Parameter decide: gets what is known of the subject, and all that is known.
  /// - Returns: the record; `nil` for a change that is none.
  /// - Throws: `RecordsUnwritable`. A statement is taken back then. A removal is in force all the same, in memory and at the
  ///   peers, and is written when the disk takes it again.
  public func change<Refusal: Error>(
    _ subject: Record.Subject,
    _ decide: @Sendable (Record?, RecordMap) throws(Refusal) -> Change?
  ) async throws(RecordsUnwritable) -> Result<Record?, Refusal> {
    let change: Change?
    do throws(Refusal) { change = try decide(map[subject], map) } catch { return .failure(error) }
    guard let change else {
      // What is so already may not be on the disk yet.
      try await write()
      return .success(nil)
    }
    let record: Record
    switch change {
    case .state(let body): record = next(subject, body, isRemoved: false)
    case .remove(let body): record = next(subject, body, isRemoved: true)
    }
    guard learn(record) else { throw RecordsUnwritable(reason: "there are as many records as a node keeps") }
    do throws(RecordsUnwritable) { try await write() } catch {
      if record.isRemoved {
        await cluster?.announce([record])
        planWrite()
      } else if map[subject] == record {
        learn(next(subject, record.body, isRemoved: true))
      }
      throw error
    }
    await cluster?.announce([record])
    return .success(record)
  }

  private func next(_ subject: Record.Subject, _ body: [UInt8], isRemoved: Bool) -> Record {
    Record(
      kind: subject.kind, name: subject.name, version: max(GossipNode.date, (map[subject]?.version ?? 0) + 1),
      author: author, isRemoved: isRemoved, body: body)
  }

  // MARK: The cluster

  /// Changes are told to this cluster from now on.
  func attach(_ cluster: ClusterNode) { self.cluster = cluster }

  /// The cluster said something.
  func learned(_ record: Record) {
    if learn(record) { planWrite() }
  }

  @discardableResult
  private func learn(_ record: Record) -> Bool {
    guard map.merge(record, date: GossipNode.date) else { return false }
    changes += 1
    onChange(record)
    return true
  }

  // MARK: The disk

  /// Writes soon: many records may come at once. Until that has worked it tries again.
  private func planWrite() {
    guard writer == nil, !isClosed else { return }
    writer = Task(executorPreference: loop) { await self.writeSoon() }
  }

  private func writeSoon() async {
    var pause = Duration.milliseconds(100)
    while written < changes, !isClosed {
      guard (try? await loop.sleep(for: pause)) != nil else { break }
      do throws(RecordsUnwritable) { try await write() } catch {
        logger.error("cannot write the records of the cluster, trying again", metadata: ["reason": "\(error.reason)"])
        pause = .seconds(5)
      }
    }
    writer = nil
  }

  /// Writes what is not on the disk yet, and nothing afterwards.
  public func close() async {
    isClosed = true
    writer?.cancel()
    await writer?.value
    do throws(RecordsUnwritable) { try await write() } catch {
      logger.error("cannot write the records of the cluster", metadata: ["reason": "\(error.reason)"])
    }
  }

  /// Returns when all changes up to now are on the disk.
  private func write() async throws(RecordsUnwritable) {
    let wanted = changes
    while written < wanted {
      if isWriting {
        await ends.wait(while: { isWriting })
        continue
      }
      isWriting = true
      map.reap(date: GossipNode.date)
      let (records, upTo) = (map.all, changes)
      defer {
        isWriting = false
        ends.resumeAll()
      }
      do { try await loop.blocking { [file] in try file.write(records) } } catch {
        throw RecordsUnwritable(reason: "\(error)")
      }
      written = upTo
    }
  }
}
