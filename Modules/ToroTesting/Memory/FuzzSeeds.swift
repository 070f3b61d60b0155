#if !hasFeature(Embedded)
import Glibc

/// The seeds of a test that tries things at random.
///
/// Such a test takes its seed as an argument and goes through the rounds that follow from it:
///
///     @Test(arguments: FuzzSeeds.all(1...200)) func survivesNonsense(_ first: UInt64) {
///         for seed in FuzzSeeds(from: first) {
///             var random = SeededRandom(seed: seed)
///
/// Usually every seed of the range has one round, and every run does the same.
/// `TORO_SEED=7` tries that seed alone. `TORO_FUZZ_SECONDS=60` explores: seeds that nobody chose, for
/// so many seconds in each test. Each is printed before its round, so that it can be repeated
/// whatever the round does.
public struct FuzzSeeds: Sequence, IteratorProtocol {
    private var seed: UInt64
    private var isFirst = true
    private let deadline: ContinuousClock.Instant?

    /// What a test gets as its arguments: a range's seeds, or one that takes their place.
    public static func all(_ usual: ClosedRange<UInt64>) -> [UInt64] {
        all(usual, seed: number("TORO_SEED"), isExploring: seconds != nil)
    }

    static func all(_ usual: ClosedRange<UInt64>, seed: UInt64?, isExploring: Bool) -> [UInt64] {
        if let seed { return [seed] }
        return isExploring ? [UInt64.random(in: 0...(.max))] : Array(usual)
    }

    /// The rounds that begin with a seed: that one alone, or as many as the time allows.
    public init(from first: UInt64) { self.init(from: first, seconds: FuzzSeeds.seconds) }

    init(from first: UInt64, seconds: Double?) {
        seed = first
        deadline = seconds.map { ContinuousClock.now + .seconds($0) }
    }

    /// The next round's seed.
    public mutating func next() -> UInt64? {
        defer { isFirst = false }
        guard let deadline else { return isFirst ? seed : nil }
        guard isFirst || ContinuousClock.now < deadline else { return nil }
        defer { seed &+= 1 }
        let line = Array("fuzz: TORO_SEED=\(seed)\n".utf8)
        // SAFETY: the length is the array's.
        _ = unsafe write(2, line, line.count)
        return seed
    }

    /// For how long to explore; nil for not at all. A seed that was asked for is tried once.
    private static var seconds: Double? {
        number("TORO_SEED") == nil ? number("TORO_FUZZ_SECONDS").map { Double($0) } : nil
    }

    private static func number(_ name: String) -> UInt64? {
        // SAFETY: the name is a C string for the call, and the value is copied at once.
        unsafe getenv(name).flatMap { unsafe UInt64(String(cString: $0)) }
    }
}
#endif
