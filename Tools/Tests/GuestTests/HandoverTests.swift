import Foundation
import Launcher
import Testing
import ToroCore
import ToroTesting

/// What a booted guest is told: arguments, environment and the time.
@Suite(.serialized) struct HandoverTests {
    /// As Tests/Guests/Sources/Probe/Parameters.swift prints it.
    private func describe(_ bytes: [UInt8]) -> String {
        let hash = bytes.reduce(0xcbf2_9ce4_8422_2325 as UInt64) {
            ($0 ^ UInt64($1)) &* 0x100_0000_01b3
        }
        return "\(bytes.count) \(String(hash, radix: 16))"
    }

    private func boot(
        _ value: [UInt8], _ arguments: [[UInt8]] = [], memory: String = "32M"
    ) throws -> String {
        var machine = Machine(image: try Images.probe().path)
        machine.memory = memory
        machine.environment = [("VALUE", "another"), ("VALUE", RawText.string(of: value))]
        machine.arguments = ["parameters"] + arguments.map { RawText.string(of: $0) }
        return try machine.boot(limit: Patience.seconds).console
    }

    @Test func everyByteArrives() throws {
        let all = (0...255).map { UInt8($0) }
        let console = try boot(all, [all, []])
        for line in ["value \(describe(all))", "argument \(describe(all))", "argument 0 "] {
            #expect(console.contains(line), "\(console)")
        }
    }

    /// As much as a guest takes, in as little memory as one has.
    @Test(arguments: ["2M", "32M"]) func muchArrives(_ memory: String) throws {
        let value = (0..<260_000).map { UInt8(truncatingIfNeeded: $0 &* 0x9e37_79b1 >> 7) }
        let console = try boot(value, memory: memory)
        #expect(console.contains("value \(describe(value))"), "\(console)")
    }

    @Test func whatIsTooMuchIsRefusedBeforeAnythingStarts() throws {
        let folder = try TestFolder()
        try folder.write(Array("A=\(String(repeating: "x", count: 300_000))".utf8), to: "env")
        let run = try ToroProcess(
            ["run", try Images.probe().path, "--env-file", folder.path + "/env"], path: folder.path)
        #expect(run.status() == 64)
        #expect(run.output.contains("300015 bytes"), "\(run.output)")
        #expect(run.output.contains("262144"), "\(run.output)")
    }

    /// By the caller's environment and by a file, a secret reaches the guest and no command line.
    @Test func noCommandLineShowsASecret() throws {
        let secret = "secret-\(UUID().uuidString)"
        let folder = try TestFolder()
        try folder.write(Array("OTHER=\(secret)\nVALUE=\(secret)".utf8), to: "env")
        // SAFETY: all are C strings for the calls.
        _ = unsafe setenv("VALUE", secret + "!", 1)
        defer { _ = unsafe unsetenv("VALUE") }
        let run = try ToroProcess(
            [
                "run", try Images.probe().path, "--env-file", folder.path + "/env", "--env",
                "VALUE", "--", "parameters", "stay",
            ])
        #expect(run.waits(for: "probe: stay"), "\(run.output)")
        #expect(
            run.output.contains("value \(describe(Array((secret + "!").utf8)))"), "\(run.output)")
        #expect(run.parts.contains { $0.name.hasPrefix("qemu") }, "\(run.parts)")
        let names = try FileManager.default.contentsOfDirectory(atPath: "/proc")
        var lines = 0
        for pid in names.compactMap(Int32.init) {
            guard let line = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") else {
                continue
            }
            lines += 1
            #expect(line.range(of: Data(secret.utf8)) == nil, "\(pid)")
        }
        #expect(lines > 3)
        run.signal(SIGTERM)
        #expect(run.status() == 128 + SIGTERM)
    }

    /// How late the guest's clock is, in seconds, as far as its output tells: it is printed when
    /// it is asked for, and heard soon after. On a busy machine not that soon.
    private func lateness(_ arguments: [String], path: String? = nil) throws -> Double {
        let run = try ToroProcess(["run", "-q"] + arguments, path: path)
        let isThere = run.waits(for: "\n", after: "wall ")
        let heard = Date().timeIntervalSince1970
        #expect(isThere && run.status() == 0, "\(run.output)")
        let words = run.output.split(whereSeparator: \.isWhitespace)
        let mark = try #require(words.firstIndex(of: "wall"), "\(run.output)")
        return heard - (try #require(Double(words[mark + 1])))
    }

    /// The least of what several runs say, none of which may be early.
    private func leastLateness(_ run: () throws -> Double) rethrows -> Double {
        var least = Double.infinity
        for _ in 0..<10 where least >= 0.2 {
            let late = try run()
            #expect(late > -0.2, "early by \(-late) seconds")
            least = min(least, late)
        }
        return least
    }

    /// The time of a build before it starts is not missing in a guest's clock.
    @Test func theClockIsRightWhateverWasBuilt() throws {
        let package = """
            // swift-tools-version: 6.2
            import PackageDescription
            let package = Package(
                name: "Clock", dependencies: [.package(name: "toro", path: "\(Images.root)")],
                targets: [.executableTarget(name: "Clock", dependencies: [
                    .product(name: "ToroCore", package: "toro"),
                    .product(name: "ToroMicroVM", package: "toro")])],
                swiftLanguageModes: [.v6])
            """
        let source = """
            import ToroCore
            import ToroMicroVM
            struct Clock: Microservice {
                func run() async throws(Never) {
                    guard let time = Core.clock.wallTime else { return }
                    let digits = String(time.nanoseconds)
                    let zeros = String(repeating: "0", count: 9 - digits.utf8.count)
                    print("wall " + String(time.seconds) + "." + zeros + digits)
                }
            }
            @main struct Appliance: MicroVMAppliance {
                static func wire(_ vm: MicroVM) async throws(WiringError) -> some Microservice {
                    Clock()
                }
            }
            """
        let late = try leastLateness {
            let folder = try TestFolder()
            let path = folder.path + "/Clock"
            try FileManager.default.createDirectory(
                atPath: path + "/Sources/Clock", withIntermediateDirectories: true)
            try folder.write(Array(package.utf8), to: "Clock/Package.swift")
            try folder.write(Array(source.utf8), to: "Clock/Sources/Clock/Clock.swift")
            let start = Date()
            let late = try lateness([path])
            #expect(-start.timeIntervalSinceNow > 1, "nothing was built")
            return late
        }
        #expect(late < 0.2, "late by \(late) seconds")
    }

    /// Nor is the time that QEMU takes to start.
    @Test func theClockIsRightHoweverLongQEMUTakes() throws {
        let folder = try TestFolder()
        let script = "#!/bin/sh\nsleep 2\nexec \(try Machine.qemu()) \"$@\"\n"
        try folder.write(Array(script.utf8), to: "qemu-system-x86_64")
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o755], ofItemAtPath: folder.path + "/qemu-system-x86_64")
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        let image = try Images.probe().path
        let late = try leastLateness {
            try lateness([image, "--", "clock"], path: folder.path + ":" + path)
        }
        #expect(late < 0.2, "late by \(late) seconds")
    }
}
