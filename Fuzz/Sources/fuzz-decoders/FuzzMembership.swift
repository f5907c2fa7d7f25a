// A member that is told anything at all, in any order, goes on: what it sends is well formed and fits into a packet, it
// always has something to do next, and its state can be read by others. The bytes are the story: each one says what
// happens, those after it what exactly.

@testable import Gossip

func membership(_ bytes: [UInt8]) {
  var story = Story(bytes)
  for _ in 0..<100 where !story.happens() { break }
  story.end()
}

private struct Story {
  private var rest: ArraySlice<UInt8>
  private var time = Duration.zero
  private var swim = SWIM(
    name: MemberName("a"), profile: MemberProfile(address: MemberAddress("a:1")), seed: 1, now: .zero)
  /// Those of the last probes, which may be answered.
  private var numbers = [ProbeNumber(0)]

  init(_ bytes: [UInt8]) { rest = bytes[...] }

  mutating func happens() -> Bool {
    guard let kind = rest.popFirst() else { return false }
    switch kind % 10 {
    case 0: for _ in 0..<number(20) { advance() }
    case 1: check(swim.receive(Packet(.ping(number(), target: name()), news: news()), from: address(), at: time))
    case 2: check(swim.receive(Packet(.acknowledge(number()), news: news(), digest: 1), from: address(), at: time))
    case 3: check(swim.receive(Packet(.negative(number())), from: address(), at: time))
    case 4:
      let request = Message.pingRequest(number(), target: name(), address: address())
      check(swim.receive(Packet(request, news: news()), from: address(), at: time))
    case 5:
      let request = Message.crashPingRequest(number(), target: name(), address: address())
      check(swim.receive(Packet(request, claims: claims(), records: records()), from: address(), at: time))
    case 6: check(swim.merge(MembershipState(news: news(), claims: claims(), records: records()), at: time))
    case 7: check(swim.linkLost(name(), at: time))
    case 8:
      var profile = swim.me.profile
      profile.isDraining.toggle()
      check(number(8) == 0 ? swim.leave(at: time) : swim.update(profile, at: time))
    default:
      // The process slept.
      time += .milliseconds(100 << number(20))
      advance()
    }
    return true
  }

  func end() { precondition((try? MembershipState(decoding: swim.state.encoded())) == swim.state) }

  private mutating func advance() {
    time = max(time, swim.nextDeadline)
    // One thing may lead to another at once, but not for ever.
    var turns = 0
    repeat {
      check(swim.advance(to: time))
      turns += 1
      precondition(turns < 10, "there is always something to do at once")
    } while swim.nextDeadline <= time
  }

  private mutating func check(_ directives: [SWIM.Directive]) {
    for case .send(let packet, _) in directives {
      let bytes = packet.encoded()
      precondition(bytes.count <= 1400 && (try? Packet(decoding: bytes)) == packet, "\(packet)")
      if case .ping(let number, _)? = packet.message { numbers = numbers.suffix(7) + [number] }
    }
  }

  // MARK: What the bytes say

  private mutating func number(_ limit: Int) -> Int { Int(rest.popFirst() ?? 0) % limit }
  private mutating func number() -> ProbeNumber { numbers[number(numbers.count)] }
  private mutating func name() -> MemberName { MemberName(["a", "b", "c", "d", "e"][number(5)]) }
  private mutating func address() -> MemberAddress { MemberAddress(["a:1", "b:1", "c:1", "x:1"][number(4)]) }
  /// Small ones mostly, and the largest that a packet can carry.
  private mutating func counter() -> UInt64 {
    let counter = number(16)
    return counter == 15 ? News.maximumCounter : UInt64(counter)
  }

  private mutating func news() -> [News] {
    (0..<number(4)).map { _ in
      var profile = MemberProfile(address: address(), isDraining: number(2) == 0)
      profile.protocols = number(8) == 0 ? 7...9 : SWIM.supportedProtocols
      var news = News(
        name: name(), state: MemberState(rawValue: UInt8(number(4)))!, incarnation: Incarnation(counter()),
        profile: profile, source: name())
      if news.isGone { news.age = number(4) == 0 ? .max : UInt32(number(100)) }
      return news
    }
  }

  private mutating func records() -> [Record] {
    (0..<number(4)).map { _ in
      Record(
        kind: RecordKind(rawValue: UInt8(number(4))), name: ["a", "b"][number(2)], version: counter(), author: name(),
        isRemoved: number(2) == 0, body: [UInt8](repeating: UInt8(number(256)), count: number(2) == 0 ? 8 : 1024))
    }
  }

  private mutating func claims() -> [RunnerClaim] {
    (0..<number(4)).map { _ in
      var claim = RunnerClaim(
        runner: ["r", "s"][number(2)], queue: ["q", "p"][number(2)], owner: name(), epoch: counter(),
        revision: counter(), state: RunnerClaimState(rawValue: UInt8(number(3)))!)
      if claim.state == .removed { claim.age = number(4) == 0 ? .max : UInt32(number(100)) }
      return claim
    }
  }
}
