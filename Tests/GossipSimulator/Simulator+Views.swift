// What an observer of the whole simulation sees.

import Gossip

extension Simulator {
  package var count: Int { nodes.count }

  package subscript(number: Int) -> SWIM { nodes[number].swim }

  /// The members whose process is there, stopped ones too.
  package var living: [Int] {
    nodes.indices.filter { nodes[$0].condition != .dead }
  }

  /// What one member thinks of another.
  package func view(_ observer: Int, of number: Int) -> MemberState? { nodes[observer].swim[Self.name(number)]?.state }

  /// Whether all living members think so of one.
  package func all(see number: Int, as state: MemberState) -> Bool {
    living.allSatisfy { $0 == number || view($0, of: number) == state }
  }

  /// Whether every living member sees every living member as alive.
  package var isWhole: Bool { living.allSatisfy { all(see: $0, as: .alive) } }

  /// Whether all living members say the same of everybody: state, incarnation and profile.
  package var agreesOnMembers: Bool {
    let living = living
    func view(_ number: Int) -> [News] {
      nodes[number].swim.members.map {
        News(
          name: $0.name, state: $0.state, incarnation: $0.incarnation, profile: $0.profile, source: $0.name)
      }
    }
    let first = view(living[0])
    return living.dropFirst().allSatisfy { view($0) == first }
  }

  /// Whether nobody has anything to learn: all views are equal, the living alive in them, the dead not, and each runner in
  /// good hands.
  package var isSettled: Bool { isWhole && deadAreGone && agreesOnMembers && agreesOnClaims && everyRunnerHasAnOwner }

  private var deadAreGone: Bool {
    let living = living
    let names = Set(living.map(Self.name))
    return living.allSatisfy { nodes[$0].swim.members.allSatisfy { !$0.isPresent || names.contains($0.name) } }
  }

  /// Why it is not settled.
  package var disagreement: String {
    "\(now): whole \(isWhole), dead gone \(deadAreGone), members \(agreesOnMembers), claims \(agreesOnClaims), owners"
      + " \(everyRunnerHasAnOwner)"
  }

  /// How often a member in good order was declared failed by one in good order.
  package var falseFailures: Int { changes.count(where: \.isFalseFailure) }
}
