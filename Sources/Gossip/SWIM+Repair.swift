// Whether two members know the same: a digest of all that is present travels on acknowledgements, so that each member is
// compared with another one every second, for eight bytes. Where digests differ though nothing is under way, something was
// lost, and the two exchange all that they know. While they agree, nobody sends the whole state to anybody: what an idle
// member sends does not grow with the cluster, nor with its runners.

extension SWIM {
  /// Which members there are, in which incarnation, whether they are present, failed or left; who owns what, and the records. Whether a
  /// member is suspected makes no difference.
  var digest: UInt64 { memberDigest &+ claimMap.digest &+ recordMap.digest }

  /// For an acknowledgement; `nil` while there is something new.
  var settledDigest: UInt64? {
    hasToSpread || now - lastChange < settings.settleTime ? nil : digest
  }

  /// All changes of what is known of members go by here.
  mutating func set(_ member: Member) {
    if let known = entries[member.name] { memberDigest &-= Self.hash(known) }
    memberDigest &+= Self.hash(member)
    entries[member.name] = member
    lastChange = now
  }

  /// All that is forgotten goes by here.
  mutating func forget(_ name: MemberName) {
    roundabouts[name] = nil
    if let known = entries.removeValue(forKey: name) { memberDigest &-= Self.hash(known) }
  }

  private static func hash(_ member: Member) -> UInt64 {
    var hash = StableHash()
    hash.add(member.name.rawValue.utf8)
    hash.add([0xFF, member.isPresent ? 0 : member.state.rawValue])
    withUnsafeBytes(of: member.incarnation.rawValue.bigEndian) { hash.add($0) }
    return hash.value
  }

  /// What a peer that acknowledged a probe knows.
  mutating func compare(_ theirs: UInt64, with peer: MemberName) {
    guard let mine = settledDigest else { return }
    if mine == theirs {
      agreedAt = now
      repairDelay = settings.probeInterval
    } else if now >= nextRepair, let member = entries[peer] {
      // Should an exchange not help, the next ones come ever later.
      nextRepair = now + repairDelay
      repairDelay = min(repairDelay * 2, settings.pushPullInterval)
      directives.append(.exchange(with: member.profile.address))
    }
  }

  /// Now and then the whole state is exchanged with one member, if none has been found to know the same of late: in a
  /// cluster that is never at rest digests say nothing. And with one that failed, and with a seed that is nobody's address:
  /// so that the parts of a cluster find each other again, though their members may have moved.
  mutating func exchange() {
    if agreedAt.map({ now - $0 > settings.pushPullInterval(members: present) }) ?? true {
      for name in choose(1, of: order.names) { directives.append(.exchange(with: entries[name]!.profile.address)) }
    }
    // Most of the gone have failed, or nearly all have left: a few tries.
    if let name = choose(4, of: gone).first(where: { entries[$0]!.state == .failed }) {
      directives.append(.exchange(with: entries[name]!.profile.address))
    }
    guard !seeds.isEmpty else { return }
    let known = Set(order.names.map { entries[$0]!.profile.address }).union([me.profile.address])
    if let seed = seeds.filter({ !known.contains($0) }).randomElement(using: &generator) {
      directives.append(.exchange(with: seed))
    }
  }
}
