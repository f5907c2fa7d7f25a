// What a stranger or a broken peer may send, given to everything that reads it. Nothing may crash, and what is read
// must say the same when it is written again. libFuzzer (llvm.org/docs/LibFuzzer.html) brings the bytes, and the main
// function; the first byte says who reads the rest.

@testable import Cluster
@testable import Gossip
@testable import Supervisor
@testable import SupervisorAPI

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count > 0 else { return 0 }
  let bytes = Array(UnsafeBufferPointer(start: start + 1, count: count - 1))
  switch start[0] % 8 {
  case 0:
    if let packet = try? Packet(decoding: bytes) { precondition((try? Packet(decoding: packet.encoded())) == packet) }
  case 1:
    if let state = try? MembershipState(decoding: bytes) {
      precondition((try? MembershipState(decoding: state.encoded())) == state)
    }
  case 2: frames(bytes)
  case 3: introductions(bytes)
  case 4: values(bytes)
  case 5: membership(bytes)
  case 6:
    if let records = try? Record.decode(bytes) { precondition(Record.encoded(records) == bytes, "\(records)") }
    // The body of a key's record, which any member may write.
    if let key = CreatedKey(body: bytes) { precondition(key.body == bytes, "\(key)") }
  default: precondition(keyring.open(bytes) == nil, "bytes of a stranger were opened")
  }
  return 0
}

/// libFuzzer's own entrance for programs that have a main function.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ body: @convention(c) (UnsafePointer<UInt8>, Int) -> CInt
) -> CInt

/// SwiftPM makes this the program's main function.
@_cdecl("fuzz_decoders_main")
public func run(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  var (count, arguments) = (count, arguments)
  return runDriver(&count, &arguments) { fuzz($0, $1) }
}

private let keyring = try! Keyring(keys: [[UInt8](repeating: 7, count: 32)], cluster: "fuzz")

/// A stream cut anywhere gives the same frames.
private func frames(_ bytes: [UInt8]) {
  func cut(_ size: Int) -> [[UInt8]] {
    var buffer = FrameBuffer()
    var frames: [[UInt8]] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      let part = Array(rest.prefix(size))
      rest = rest.dropFirst(size)
      let isFine = part.withUnsafeBytes { part in
        do throws(LinkFault) {
          try buffer.feed(part) { (frame) throws(LinkFault) in
            _ = try? Frame(frame)
            frames.append(Array(frame))
          }
          return true
        } catch {
          return false
        }
      }
      if !isFine { break }
    }
    return frames
  }
  precondition(cut(bytes.count + 1) == cut(3), "a stream reads differently when it is cut")
  if var assembly = try? Assembly(Array(bytes.prefix(64))) { try? assembly.add(bytes.dropFirst(64)) }
}

/// What a peer says first, whole and byte by byte; what comes behind it stays.
private func introductions(_ bytes: [UInt8]) {
  func take(_ size: Int) -> (Introduction, rest: [UInt8])? {
    var buffer: [UInt8] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      buffer += rest.prefix(size)
      rest = rest.dropFirst(size)
      do {
        if let introduction = try Introduction.take(from: &buffer) { return (introduction, buffer + rest) }
      } catch {
        return nil
      }
    }
    return nil
  }
  let (whole, pieces) = (take(bytes.count + 1), take(1))
  precondition(whole?.0 == pieces?.0 && whole?.rest == pieces?.rest, "an introduction reads differently when it is cut")
}

/// Arguments and answers of distributed calls, which only peers can send.
private func values(_ bytes: [UInt8]) {
  func read<Value: WireValue & Equatable>(_ type: Value.Type) {
    guard let value = try? Value(wireBytes: bytes) else { return }
    // Not a number is not equal to itself.
    guard value == value else { return }
    precondition((try? Value(wireBytes: value.wireBytes)) == value, "\(value)")
  }
  read(JobRecord.self)
  read(ReleaseRequest.self)
  read(Release.self)
  read(JobScope.self)
  read(JobPage.self)
  read(JobQuery.self)
  read(SupervisorError.self)
  read([RegisteredRunner].self)
  read([RunnerStatus].self)
  read(Introduction.self)
}
