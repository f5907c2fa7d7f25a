// What members state as records, and what is seen of it.

import Gossip

extension Simulator {
  package mutating func record(_ record: Record, by number: Int) {
    perform(nodes[number].swim.record(record, at: now + nodes[number].clock), of: number)
  }

  /// A packet of somebody who has the keys arrives at a member, from another's address.
  package mutating func receive(_ packet: Packet, at number: Int, from sender: Int) {
    let address = Self.address(nodes[sender].address)
    perform(nodes[number].swim.receive(packet, from: address, at: now + nodes[number].clock), of: number)
  }

  /// Whether all living members know the same records.
  package var agreesOnRecords: Bool {
    let living = living
    let first = nodes[living[0]].swim.records.all
    return living.dropFirst().allSatisfy { nodes[$0].swim.records.all == first }
  }
}
