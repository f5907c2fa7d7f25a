/// The place of a job among those that wait for a queue, as an embedded store gives it: the generation of the queue's owner
/// in the upper bits, the order within the generation in the lower ones.
///
/// A generation is the highest epoch of the queue's runners at their owner. So what was queued at an earlier owner comes
/// before what is queued at the present one, also when it arrives later.
public enum QueuePosition {
  private static let orderBits = 40
  /// The bits that give the order within a generation.
  public static let orderMask: Int64 = (1 << orderBits) - 1

  /// Where the positions of a generation begin. Owners beyond the four millionth share one.
  public static func first(of generation: UInt64) -> Int64 { Int64(min(generation, (1 << 22) - 1)) << orderBits }
}
