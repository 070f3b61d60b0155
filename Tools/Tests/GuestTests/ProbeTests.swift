import Foundation
import Launcher
import Testing
import ToroTesting

/// Boots the Probe guest, which shows or breaks one promise of the platform at a time.
@Suite(.serialized) struct ProbeTests {
    private func boot(
        _ experiments: [String], memory: String = "32M", cores: Int = 1,
        environment: [(String, String)] = []
    ) throws -> (status: Int32?, console: String) {
        var machine = Machine(image: try Images.probe().path)
        machine.memory = memory
        machine.cores = cores
        machine.arguments = experiments
        machine.environment = environment
        return try machine.boot(limit: Patience.seconds)
    }

    @Test(arguments: ["2M", "3M", "32M", "6G"])
    func bootsInAnyMemory(_ memory: String) throws {
        let (status, console) = try boot(["clock", "sleep", "buffer-memory"], memory: memory)
        #expect(status == 0, "\(console)")
    }

    @Test(
        arguments: [
            ("null", 110), ("null-read", 110), ("text", 111), ("constant", 111),
            ("execute-heap", 112), ("execute-stack", 112), ("unmapped", 114),
            ("overflow-stack", 113), ("divide", 101), ("trap", 101), ("throw", 1),
        ] as [(String, Int32)])
    func diesOfWhatItDid(_ experiment: (name: String, status: Int32)) throws {
        let (status, console) = try boot([experiment.name])
        #expect(status == experiment.status, "\(console)")
        let marker = experiment.name == "throw" ? "toro: the service failed" : "toro: panic: "
        #expect(console.contains(marker), "\(console)")
    }

    @Test func outOfMemoryIsReported() throws {
        let (status, console) = try boot(["memory"], memory: "8M")
        #expect(status == 102)
        #expect(console.contains("toro: panic: "), "\(console)")
    }

    @Test func theHeapKeepsWhatItHolds() throws {
        // Unoptimized, the exercise takes ten times as long.
        let steps = Images.configuration == .debug ? 100_000 : 1_000_000
        let (status, console) = try boot(["heap"], environment: [("STEPS", "\(steps)")])
        #expect(status == 0, "\(console)")
        #expect(console.contains("heap: \(steps) steps"), "\(console)")
    }

    @Test(arguments: [1, 2, 4])
    func coresMeetAndGoHome(_ count: Int) throws {
        let (status, console) = try boot(["cores"], cores: count)
        #expect(status == 0, "\(console)")
        #expect(console.contains("cores: \(count)"), "\(console)")
    }

    /// What a driver publishes in a ring is ordered for the host's processes, too, however few
    /// cores the guest has.
    @Test func memoryBarriersAreInTheGeneratedCode() throws {
        let folder = try TestFolder()
        let log = folder.path + "/operations"
        var machine = Machine(image: try Images.probe().path)
        machine.arguments = ["sleep"]
        machine.accelerator = .tcg
        let (status, console) = try machine.boot(
            limit: Patience.seconds, options: ["-d", "op", "-D", log])
        #expect(status == 0, "\(console)")
        let operations = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
        #expect(operations.count > 10_000)
        #expect(operations.contains { $0.hasPrefix(" mb ") })
    }

    @Test func aTaskOfAnotherCoreIsNotResumed() throws {
        let (status, console) = try boot(["foreign-core"], cores: 2)
        #expect(status == 101, "\(console)")
        #expect(console.contains("toro: panic: "), "\(console)")
    }

    @Test func aSleepingGuestHalts() throws {
        let (status, console) = try boot(["sleep"])
        #expect(status == 0)
        let words = console.split(whereSeparator: \.isWhitespace)
        let mark = try #require(words.firstIndex(of: "order:"), "\(console)")
        let halts = try #require(Int(words[mark + 1]))
        let jobs = try #require(Int(words[mark + 3]))
        #expect((1...8).contains(halts), "\(console)")
        #expect(jobs < 40, "\(console)")
    }

    @Test func anUnknownExperimentIsNamed() throws {
        let (status, console) = try boot(["no such"])
        #expect(status == 1)
        #expect(console.contains("no experiment is called no such"))
    }
}
