import Testing

@testable import ToroTesting

@Suite struct FuzzSeedsTests {
    @Test func usuallyEverySeedHasOneRound() {
        let seeds = FuzzSeeds.all(1...3, seed: nil, isExploring: false)
        #expect(seeds == [1, 2, 3])
        #expect(seeds.flatMap { Array(FuzzSeeds(from: $0, seconds: nil)) } == [1, 2, 3])
    }

    @Test func aSeedThatIsAskedForIsAlone() {
        #expect(FuzzSeeds.all(1...3, seed: 7, isExploring: false) == [7])
        #expect(FuzzSeeds.all(1...3, seed: 7, isExploring: true) == [7])
    }

    @Test func exploringGoesOnForATime() {
        #expect(FuzzSeeds.all(1...3, seed: nil, isExploring: true).count == 1)
        // One round at least, however short the time.
        #expect(Array(FuzzSeeds(from: .max, seconds: 0)) == [.max])
        var seeds = FuzzSeeds(from: .max, seconds: 3_600)
        #expect((0..<3).map { _ in seeds.next() } == [.max, 0, 1])
    }
}
