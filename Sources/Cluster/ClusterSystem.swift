import Distributed
import EventLoop
import Gossip
import Synchronization

// Swift's distributed actors over peer links: a call on an actor of another node is encoded, sent over the link, and
// awaited; a call on one of this node is a plain actor call.

/// Which actor: its node, its type, and a name among those of its type.
public struct ClusterActorID: Hashable, Sendable, WireValue {
  public let node: MemberName
  public let kind: String
  public let name: String

  public init(node: MemberName, kind: String, name: String = "") {
    self.node = node
    self.kind = kind
    self.name = name
  }

  public func encode(into writer: inout WireWriter) {
    for text in [node.rawValue, kind, name] { writer.add(text) }
  }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    node = MemberName(try reader.value())
    kind = try reader.value()
    name = try reader.value()
  }
}

public final class ClusterSystem: DistributedActorSystem, Sendable {
  public typealias ActorID = ClusterActorID
  public typealias SerializationRequirement = WireValue
  public typealias InvocationEncoder = ClusterInvocationEncoder
  public typealias InvocationDecoder = ClusterInvocationDecoder
  public typealias ResultHandler = ClusterResultHandler

  /// The longest that a call may take unless its caller says otherwise.
  public static let defaultLimit = Duration.seconds(10)
  /// What the caller says; `nil` waits as long as the link lives.
  @TaskLocal public static var limit: Duration? = ClusterSystem.defaultLimit

  /// This node.
  public let node: MemberName
  /// Where the actors of this node run.
  public let loop: EventLoop
  private let sender: @Sendable (MemberName, [UInt8], Duration?) async throws(ClusterError) -> [UInt8]
  private let decodeError: @Sendable ([UInt8]) throws(MalformedWire) -> any WireError

  // A lock, because actors are made and resolved from any thread; it is held for one look-up.
  private let actors = Mutex<[ClusterActorID: Weak]>([:])

  private struct Weak: @unchecked Sendable {
    // @unchecked: a weak reference is atomic in Swift's runtime.
    weak var actor: (any DistributedActor)?
  }

  /// - Parameters:
  ///   - errors: the one type of error that distributed functions throw and that keeps its type on the way.
  ///   - sender: sends an invocation to a node and answers its outcome.
  public init<Failure: WireError>(
    node: MemberName, loop: EventLoop, errors: Failure.Type,
    sender: @escaping @Sendable (MemberName, [UInt8], Duration?) async throws(ClusterError) -> [UInt8]
  ) {
    self.node = node
    self.loop = loop
    self.sender = sender
    decodeError = { (bytes) throws(MalformedWire) in try Failure(wireBytes: bytes) }
    encodeError = { ($0 as? Failure)?.wireBytes }
  }
  let encodeError: @Sendable (any Error) -> [UInt8]?

  // MARK: Actors

  public func resolve<Act>(id: ActorID, as actorType: Act.Type) throws -> Act?
  where Act: DistributedActor, Act.ID == ActorID {
    guard id.node == node else { return nil }
    guard let actor = actors.withLock({ $0[id]?.actor }) as? Act else {
      throw ClusterError.invalidAnswer(node, reason: "there is no \(id.kind) here")
    }
    return actor
  }

  public func assignID<Act>(_ actorType: Act.Type) -> ActorID where Act: DistributedActor, Act.ID == ActorID {
    ClusterActorID(node: node, kind: "\(actorType)")
  }

  public func actorReady<Act>(_ actor: Act) where Act: DistributedActor, Act.ID == ActorID {
    actors.withLock { $0[actor.id] = Weak(actor: actor) }
  }

  public func resignID(_ id: ActorID) {
    actors.withLock { $0[id] = nil }
  }

  // MARK: Calls

  public func makeInvocationEncoder() -> InvocationEncoder { ClusterInvocationEncoder() }

  public func remoteCall<Act, Err, Res>(
    on actor: Act, target: RemoteCallTarget, invocation: inout InvocationEncoder, throwing: Err.Type,
    returning: Res.Type
  ) async throws -> Res where Act: DistributedActor, Act.ID == ActorID, Err: Error, Res: SerializationRequirement {
    let answer = try await call(actor.id, target, invocation)
    do {
      return try Res(wireBytes: answer)
    } catch {
      throw ClusterError.invalidAnswer(actor.id.node, reason: error.reason)
    }
  }

  public func remoteCallVoid<Act, Err>(
    on actor: Act, target: RemoteCallTarget, invocation: inout InvocationEncoder, throwing: Err.Type
  ) async throws where Act: DistributedActor, Act.ID == ActorID, Err: Error {
    _ = try await call(actor.id, target, invocation)
  }

  /// The bytes of the answer's value.
  private func call(
    _ id: ActorID, _ target: RemoteCallTarget, _ invocation: InvocationEncoder
  ) async throws -> [UInt8] {
    var writer = WireWriter()
    writer.add(id)
    writer.add(target.identifier)
    writer.addRaw(invocation.arguments.bytes)
    let answer = try await sender(id.node, writer.bytes, Self.limit)
    switch answer.first {
    case Outcome.value.rawValue: return Array(answer.dropFirst())
    case Outcome.error.rawValue:
      let error: any WireError
      do { error = try decodeError(Array(answer.dropFirst())) } catch {
        throw ClusterError.invalidAnswer(id.node, reason: error.reason)
      }
      throw error
    default:
      throw ClusterError.invalidAnswer(id.node, reason: String(decoding: answer.dropFirst(), as: UTF8.self))
    }
  }

  enum Outcome: UInt8 {
    case value = 1
    /// An error of the type that distributed functions throw.
    case error = 2
    /// Another error, in words.
    case failure = 3
  }

  /// Carries out an invocation that a peer sent; answers its outcome.
  /// - Parameter position: where it begins in `message`.
  public func carryOut(_ message: [UInt8], from position: Int) async -> [UInt8] {
    let handler = ClusterResultHandler(self)
    do {
      var reader = WireReader(message, from: position)
      let id: ActorID = try reader.value()
      let target = RemoteCallTarget(try reader.value())
      guard id.node == node, let actor = actors.withLock({ $0[id]?.actor }) else {
        throw MalformedWire("there is no \(id.kind) at \(node)")
      }
      var decoder = ClusterInvocationDecoder(reader)
      try await executeDistributedTarget(on: actor, target: target, invocationDecoder: &decoder, handler: handler)
    } catch {
      handler.failed("\(error)")
    }
    return handler.outcome
  }
}

/// The arguments of one call.
public struct ClusterInvocationEncoder: DistributedTargetInvocationEncoder {
  public typealias SerializationRequirement = WireValue

  var arguments = WireWriter()

  public mutating func recordArgument<Value: WireValue>(_ argument: RemoteCallArgument<Value>) throws {
    arguments.add(argument.value)
  }
  public mutating func recordGenericSubstitution<T>(_ type: T.Type) throws {
    throw MalformedWire("distributed functions are not generic")
  }
  public mutating func recordReturnType<R: WireValue>(_ type: R.Type) throws {}
  public mutating func recordErrorType<E: Error>(_ type: E.Type) throws {}
  public mutating func doneRecording() throws {}
}

public struct ClusterInvocationDecoder: DistributedTargetInvocationDecoder {
  public typealias SerializationRequirement = WireValue

  private var reader: WireReader
  init(_ reader: WireReader) { self.reader = reader }

  public mutating func decodeGenericSubstitutions() throws -> [any Any.Type] { [] }
  public mutating func decodeNextArgument<Argument: WireValue>() throws -> Argument { try reader.value() }
  public mutating func decodeErrorType() throws -> (any Any.Type)? { nil }
  public mutating func decodeReturnType() throws -> (any Any.Type)? { nil }
}

public final class ClusterResultHandler: DistributedTargetInvocationResultHandler, @unchecked Sendable {
  // @unchecked: written once by the one task that carries out the call, and read by it afterwards.
  public typealias SerializationRequirement = WireValue

  private let system: ClusterSystem
  private(set) var outcome: [UInt8] = []
  init(_ system: ClusterSystem) { self.system = system }

  public func onReturn<Success: WireValue>(value: Success) async throws {
    var writer = WireWriter()
    writer.addInteger(ClusterSystem.Outcome.value.rawValue)
    writer.add(value)
    outcome = writer.bytes
  }
  public func onReturnVoid() async throws { outcome = [ClusterSystem.Outcome.value.rawValue] }
  public func onThrow<Err: Error>(error: Err) async throws {
    if let bytes = system.encodeError(error) {
      outcome = [ClusterSystem.Outcome.error.rawValue] + bytes
    } else {
      failed("\(error)")
    }
  }
  func failed(_ reason: String) { outcome = [ClusterSystem.Outcome.failure.rawValue] + Array(reason.utf8) }
}
