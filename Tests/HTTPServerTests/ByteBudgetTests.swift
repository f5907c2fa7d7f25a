// The budget as a value, and the shares of those who hold it.

import Testing

@testable import HTTPServer

@Suite("Byte budget")
struct ByteBudgetTests {
  private static func holding(_ bytes: Int, isKnown: Bool = false) -> ByteBudget.Holding {
    ByteBudget.Holding(bytes: bytes, isKnown: isKnown)
  }

  @Test("strangers share a part, all share the whole")
  func limits() {
    let budget = Box(ByteBudget(limit: 100, strangerLimit: 30))
    #expect(budget.replace(.none, by: Self.holding(30)))
    #expect(!budget.replace(.none, by: Self.holding(1)))
    #expect(budget.replace(.none, by: Self.holding(70, isKnown: true)))
    #expect(!budget.replace(.none, by: Self.holding(1, isKnown: true)))
    #expect(budget.strangers == 30 && budget.known == 70)
    #expect(budget.refusedStrangers == 1 && budget.refusedKnown == 1)
    // The whole bounds strangers too.
    #expect(budget.replace(Self.holding(30), by: .none))
    #expect(budget.replace(.none, by: Self.holding(20, isKnown: true)))
    #expect(!budget.replace(.none, by: Self.holding(11)))
    #expect(budget.replace(.none, by: Self.holding(10)))
  }

  @Test("what is refused changes nothing, and to hold less is never refused")
  func atomicity() {
    let budget = Box(ByteBudget(limit: 100, strangerLimit: 30))
    #expect(budget.replace(.none, by: Self.holding(20)))
    #expect(!budget.replace(Self.holding(20), by: Self.holding(31)))
    #expect(budget.strangers == 20 && budget.known == 0)
    #expect(budget.replace(.none, by: Self.holding(80, isKnown: true)))
    for bytes in stride(from: 20, through: 0, by: -5) where bytes < 20 {
      #expect(budget.replace(Self.holding(bytes + 5), by: Self.holding(bytes)))
    }
    #expect(budget.strangers == 0 && budget.known == 80)
  }

  @Test("who shows a key is moved to the others, with what it holds")
  func moving() {
    let budget = Box(ByteBudget(limit: 100, strangerLimit: 30))
    #expect(budget.replace(.none, by: Self.holding(30)))
    #expect(budget.replace(Self.holding(30), by: Self.holding(30, isKnown: true)))
    #expect(budget.strangers == 0 && budget.known == 30)
    #expect(budget.replace(Self.holding(30, isKnown: true), by: Self.holding(100, isKnown: true)))
  }

  @Test(
    "whatever holders do, the sums are those of what they hold, and within the limits",
    arguments: 1...3 as ClosedRange<UInt64>)
  func sums(seed: UInt64) {
    var random = SplitMix(state: seed)
    let budget = Box(ByteBudget(limit: 1000, strangerLimit: 200))
    var holdings = Array(repeating: ByteBudget.Holding.none, count: 20)
    for _ in 0..<20_000 {
      let who = Int(random.next() % 20)
      let wanted = Self.holding(Int(random.next() % 150), isKnown: random.next().isMultiple(of: 2))
      if budget.replace(holdings[who], by: wanted) { holdings[who] = wanted }
      #expect(budget.known == holdings.filter(\.isKnown).reduce(0) { $0 + $1.bytes })
      #expect(budget.strangers == holdings.filter { !$0.isKnown }.reduce(0) { $0 + $1.bytes })
      #expect(budget.known + budget.strangers <= 1000 && budget.strangers <= 200)
    }
    for holding in holdings { #expect(budget.replace(holding, by: .none)) }
    #expect(budget.known == 0 && budget.strangers == 0)
  }

  @Test("what one holder has of two budgets is moved together")
  func companions() {
    let (requests, answers) = (SharedBudget(limit: 100, strangerLimit: 30), SharedBudget(limit: 100, strangerLimit: 30))
    let request = BudgetShare(of: requests)
    let answer = BudgetShare(of: answers, with: request)
    #expect(request.take(20) && answer.take(10))
    answer.showKey()
    #expect(requests.now.known == 20 && answers.now.known == 10 && answer.isKnown)
    #expect(requests.now.strangers == 0 && answers.now.strangers == 0)
  }

  @Test("a share goes back with its last reference")
  func lifetime() {
    let budget = SharedBudget(limit: 100, strangerLimit: 30)
    do {
      let share = BudgetShare(of: budget)
      #expect(share.take(20) && !share.take(20))
      #expect(share.bytes == 20 && budget.now.strangers == 20)
      share.showKey()
      #expect(share.take(50))
      share.giveBack(10)
      #expect(budget.now.known == 60 && budget.now.strangers == 0)
    }
    #expect(budget.now.known == 0)
  }
}

/// A budget that can be changed within an expectation.
@dynamicMemberLookup
private final class Box {
  private var budget: ByteBudget

  init(_ budget: ByteBudget) { self.budget = budget }

  func replace(_ old: ByteBudget.Holding, by new: ByteBudget.Holding) -> Bool { budget.replace(old, by: new) }

  subscript<Value>(dynamicMember path: KeyPath<ByteBudget, Value>) -> Value { budget[keyPath: path] }
}
