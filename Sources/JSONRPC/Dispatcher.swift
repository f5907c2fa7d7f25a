import ExactText

// From the bytes of a request to the bytes of its answer (JSON-RPC 2.0). A single request, the usual case, is handled in
// the caller's task without another allocation than its values and its answer.

/// Knows the methods, and answers requests.
public struct Dispatcher<Context: Sendable>: Sendable {
  /// Called after each request with the method (`nil` when there is no such method) and the error code, if any.
  public typealias Observer = @Sendable (_ method: String?, _ code: Int?) -> Void

  private let methods: [ExactText: Method<Context>]
  private let maximumBatch: Int
  /// Numbers, strings, members … of a request or a batch: fifty for each call of a batch. A job with as many variables as
  /// it may have is far below.
  private var maximumValues: Int { 50 * max(maximumBatch, 1000) }
  private let maximumResponseBytes: Int
  /// Enough to let the store write the steps of several calls at once; few enough that what they read and wait for is
  /// small, and that the loop gets to other work between them.
  private var callsOfBatchAtATime: Int { 16 }
  private let observer: Observer?

  public init(
    methods: [String: Method<Context>], maximumBatch: Int = 1000, maximumResponseBytes: Int = 10 << 20,
    observer: Observer? = nil
  ) {
    self.methods = Dictionary(uniqueKeysWithValues: methods.map { (ExactText($0), $1) })
    self.maximumBatch = maximumBatch
    self.maximumResponseBytes = maximumResponseBytes
    self.observer = observer
  }

  /// Answers a request or a batch.
  /// - Parameter room: what the answer takes is taken from it, and left there for the caller to give back; what else is
  ///   built for it is given back.
  /// - Returns: `nil` when there is nothing to answer: all were notifications.
  public func dispatch(
    _ body: [UInt8], context: Context, room: any AnswerRoom = UnboundedRoom()
  ) async -> Answer? {
    // Looked at before a tree is built of them: an empty object is three bytes here and a hundred there.
    let scan = BatchScan(body)
    if let count = scan.calls, count > maximumBatch {
      return Answer(refusal(.batchTooBig(limit: maximumBatch, count: count)))
    }
    // Of more values than there may be none is built.
    let tree =
      body.count > Cost.free && scan.values <= maximumValues ? body.count + scan.values * Cost.value : 0
    guard tree == 0 || room.take(tree) else { return Answer(refusal(.noRoom)) }
    defer { if tree > 0 { room.giveBack(tree) } }
    let value: JSON
    let ids: WrittenIDs?
    do { (value, ids) = try parse(body) } catch { return Answer(refusal(.parseError(error))) }
    guard case .array(let requests) = value else { return await answer(to: value, ids?[0], context, room) }
    if requests.isEmpty { return Answer(refusal(.invalidRequest("the batch is empty"))) }
    return await answer(toBatch: requests, ids, context, room).map { Answer($0) }
  }

  /// An answer for a body that was refused before it was read.
  public func refusal(_ error: JSONRPCError) -> [UInt8] { error.answer(to: .null) }

  /// The value of a body, and its ids as they were written where a value does not say it.
  private func parse(_ body: [UInt8]) throws(JSONParseError) -> (JSON, WrittenIDs?) {
    do throws(JSONParseError) {
      let value = try JSON.parse(body, maximumValues: maximumValues)
      return (value, Self.losesID(value) ? WrittenIDs(body) : nil)
    } catch {
      let ids = WrittenIDs(body)
      if ids.isEmpty { throw error }
      return (try JSON.parse(ids.replaced, maximumValues: maximumValues), ids)
    }
  }

  /// Whether an id may have been written otherwise than its value is.
  private static func losesID(_ value: JSON) -> Bool {
    switch value {
    case .object(let call):
      switch call["id"] {
      case .double?, .int(0)?: true
      default: false
      }
    case .array(let calls):
      calls.contains { if case .object = $0 { losesID($0) } else { false } }
    default: false
    }
  }

  /// Some requests of a batch run at a time, begun in their order, one more only while there is room; answers come in the
  /// order in which they are ready. None begins when nobody waits for them.
  private func answer(
    toBatch requests: [JSON], _ ids: WrittenIDs?, _ context: Context, _ room: any AnswerRoom
  ) async -> [UInt8]? {
    var answers: [UInt8] = []
    var started = 0
    let budget = BatchBudget(bytes: maximumResponseBytes)
    await withTaskGroup(of: [UInt8]?.self) { group in
      var running = 0
      while true {
        while started < requests.count, running < callsOfBatchAtATime, !Task.isCancelled {
          // One runs in any case.
          guard running == 0 || room.take(Cost.call) else { break }
          let request = requests[started]
          let id = ids?[started]
          group.addTask { await self.answer(to: request, id, context, room, budget)?.bytes }
          started += 1
          running += 1
        }
        guard let next = await group.next() else { break }
        running -= 1
        if running > 0 { room.giveBack(Cost.call) }
        guard let answer = next else { continue }
        answers.append(answers.isEmpty ? UInt8(ascii: "[") : UInt8(ascii: ","))
        answers.append(contentsOf: answer)
      }
    }
    if answers.isEmpty { return nil }
    answers.append(UInt8(ascii: "]"))
    return answers
  }

  /// - Parameters:
  ///   - writtenID: its id as it was written, when its value does not say it.
  ///   - budget: that of its batch.
  private func answer(
    to request: JSON, _ writtenID: RequestID?, _ context: Context, _ room: any AnswerRoom, _ budget: BatchBudget? = nil
  ) async -> Answer? {
    func refuse(_ id: RequestID, _ error: JSONRPCError) -> Answer { Answer(error.answer(to: id)) }
    guard case .object(let object) = request else {
      return refuse(.null, .invalidRequest("a request is an object, got \(request.kind)"))
    }
    let id: RequestID?
    switch object["id"] {
    case nil: id = nil
    case let value? where value.isNull || value.stringValue != nil || value.doubleValue != nil:
      id = writtenID ?? .value(value)
    case let other?:
      return refuse(.null, .invalidRequest("id must be a string, a number or null, got \(other.kind)"))
    }
    guard object["jsonrpc"]?.stringValue?.isExactly("2.0") == true else {
      return refuse(id ?? .null, .invalidRequest("jsonrpc must be \"2.0\""))
    }
    guard case .string(let name)? = object["method"] else {
      return refuse(id ?? .null, .invalidRequest("method must be a string"))
    }
    switch object["params"] {
    // Null is no structured value, but many clients write it for "none"; nothing else can be meant.
    case nil, .null?, .array?, .object?: break
    case let other?:
      return refuse(id ?? .null, .invalidRequest("params must be an array or an object, got \(other.kind)"))
    }
    guard let method = methods[ExactText(name)] else {
      observer?(nil, -32601)
      return id.map { refuse($0, .methodNotFound(name)) }
    }
    do throws(JSONRPCError) {
      let params = try method.params(from: object["params"])
      guard let id else {
        try await carryOut(method, params, context)
        observer?(name, nil)
        return nil
      }
      let answer = try await answer(id, method, params, context, room, budget)
      observer?(name, nil)
      return answer
    } catch {
      observer?(name, error.code)
      return id.map { refuse($0, error) }
    }
  }

  /// Carries out a call that wants no answer.
  private func carryOut(_ method: Method<Context>, _ params: Params, _ context: Context) async throws(JSONRPCError) {
    if let notification = method.notification {
      _ = try await notification(params, context)
      return
    }
    switch method.body {
    case .makes(let handler): _ = try await handler(params, context)
    case .writes(let writer):
      var unread: [UInt8] = []
      try await writer(params, context, &unread)
    case .opens(let opener): _ = try await opener(params, context)
    }
  }

  private func answer(
    _ id: RequestID, _ method: Method<Context>, _ params: Params, _ context: Context, _ room: any AnswerRoom,
    _ budget: BatchBudget?
  ) async throws(JSONRPCError) -> Answer {
    var bytes: [UInt8]
    var rest: Answer.Pieces?
    /// What of it has taken room already.
    var counted = 0
    do throws(JSONRPCError) {
      switch method.body {
      case .makes(let handler):
        let result = try await handler(params, context)
        bytes = Self.beginning(id)
        result.write(into: &bytes)
      case .writes(let writer):
        bytes = Self.beginning(id)
        try await writer(params, context, &bytes)
      case .opens(let opener):
        let pieces = try await opener(params, context)
        bytes = Self.beginning(id)
        rest = pieces
        // A short result is an answer as any other, and so is one in a batch.
        while budget != nil || bytes.count <= Cost.piece {
          guard let piece = try await pieces() else {
            rest = nil
            break
          }
          guard budget == nil || bytes.count + piece.count <= budget!.rest else {
            throw .batchResponseTooBig(limit: maximumResponseBytes)
          }
          bytes.append(contentsOf: piece)
          guard bytes.count > Cost.free else { continue }
          guard room.take(bytes.count - counted) else { throw .noRoom }
          counted = bytes.count
        }
      }
      if let rest { return Answer(bytes, rest: Answer.Rest(next: rest, end: [UInt8(ascii: "}")])) }
      bytes.append(UInt8(ascii: "}"))
      guard bytes.count <= maximumResponseBytes || method.isInPieces && budget == nil else {
        throw .responseTooBig(limit: maximumResponseBytes, hint: method.tooBigHint)
      }
      let isFree = (budget?.spent ?? 0) + bytes.count <= Cost.free
      if !isFree {
        guard room.take(bytes.count - counted) else { throw .noRoom }
        counted = bytes.count
      }
      guard budget?.take(bytes.count + 1) != false else { throw .batchResponseTooBig(limit: maximumResponseBytes) }
      return Answer(bytes)
    } catch {
      if counted > 0 { room.giveBack(counted) }
      throw error
    }
  }

  /// An answer up to its result.
  private static func beginning(_ id: RequestID) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(256)
    bytes.append(contentsOf: #"{"jsonrpc":"2.0","id":"#.utf8)
    id.write(into: &bytes)
    bytes.append(contentsOf: #","result":"#.utf8)
    return bytes
  }
}
