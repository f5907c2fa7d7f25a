import Testing

@testable import Supervisor

@Suite("The room for arguments")
struct ArgumentRoomTests {
  private static let cases: [(stackLimit: UInt64, bytes: Int)] = [
    (8_388_608, 2_097_152), (1_048_576, 262_144), (65_536, 131_072), (67_108_864, 6_291_456), (.max, 6_291_456),
  ]

  @Test("is a quarter of the limit of the stack, between bounds of the kernel", arguments: cases)
  func bounds(stackLimit: UInt64, bytes: Int) {
    #expect(ArgumentRoom(stackLimit: stackLimit).bytes == bytes - 8192)
  }
}
