import Cluster

// What goes between giver and receiver of jobs (`JobTransfer.swift`).

extension TransferID: WireValue {
  public func encode(into writer: inout WireWriter) { writer.add(rawValue) }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    let text: String = try reader.value()
    guard text.utf8.count == 32, text.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
    else { throw MalformedWire("no id of a transfer") }
    self.init(trusted: text)
  }
}

/// A job that a giver offers.
struct OfferedJob: Hashable, Sendable {
  let transfer: TransferID
  let record: JobRecord
}

extension OfferedJob: WireValue {
  func encode(into writer: inout WireWriter) {
    writer.add(transfer)
    writer.add(record)
    writer.add(record.position.map(Int.init))
  }
  init(from reader: inout WireReader) throws(MalformedWire) {
    transfer = try reader.value()
    var record: JobRecord = try reader.value()
    record.position = try reader.value(Int?.self).map(Int64.init)
    guard (record.status == .queued) == (record.position != nil), record.status == .queued || record.status == .created,
      record.position ?? 0 >= 0
    else { throw MalformedWire("a job that cannot be moved") }
    self.record = record
  }
}

/// What goes on at a giver.
struct GiverActivity: Hashable, Sendable {
  /// The runner's jobs that run there.
  let running: [JobID]
  /// Whether jobs wait there, or may be about to.
  let waits: Bool
}

extension GiverActivity: WireValue {
  func encode(into writer: inout WireWriter) {
    writer.add(running)
    writer.add(waits)
  }
  init(from reader: inout WireReader) throws(MalformedWire) {
    running = try reader.value()
    waits = try reader.value()
  }
}

/// What the receiver asks the giver for.
struct ReleaseRequest: Hashable, Sendable {
  let runner: RunnerName
  /// Of the receiver's claim.
  let epoch: UInt64
  let receiver: NodeName
  /// Moved by the giver, and the receiver's own by now.
  var settled: [TransferID] = []
  /// Offered, but the id belongs to another job at the receiver.
  var refused: [JobID] = []
  /// What the receiver knows already; `nil` at first.
  var known: GiverActivity?
}

extension ReleaseRequest: WireValue {
  func encode(into writer: inout WireWriter) {
    writer.add(runner)
    writer.add(epoch)
    writer.add(receiver)
    writer.add(settled)
    writer.add(refused)
    writer.add(known)
  }
  init(from reader: inout WireReader) throws(MalformedWire) {
    runner = try reader.value()
    epoch = try reader.value()
    receiver = try reader.value()
    settled = try reader.value()
    refused = try reader.value()
    known = try reader.value()
  }
}

/// What the giver answers.
struct Release: Hashable, Sendable {
  /// The first of those that wait, in order.
  let offers: [OfferedJob]
  let activity: GiverActivity
}

extension Release: WireValue {
  func encode(into writer: inout WireWriter) {
    writer.add(offers)
    writer.add(activity)
  }
  init(from reader: inout WireReader) throws(MalformedWire) {
    offers = try reader.value()
    activity = try reader.value()
  }
}
