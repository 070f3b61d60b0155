import ArgumentParser
import Foundation
import Launcher
import LoadClient

/// Measures what Toro promises, on this machine.
@main struct Benchmarks: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "benchmarks",
        abstract: "Image sizes, boot, memory and throughput, as a table or as JSON.",
        discussion: """
            Times are medians over several runs; compare ratios, not times of different machines. \
            Every byte of every answer is compared, on the same processors that run the guest.
            """)

    @Flag(help: "Prints JSON.") var json = false
    @Option(help: "How often each time is taken.") var runs = 9
    @Option(help: "Seconds of load for each throughput.") var seconds = 3
    @Option(help: "Seconds over which an idle guest is watched.") var idle = 30

    /// The files that are asked for: name and size.
    private static let files = [
        ("1kB", 1_000), ("10kB", 10_000), ("100kB", 100_000), ("1MB", 1_000_000),
    ]
    private static let largeSize = 256 << 20

    private var root: String {
        // This file is Benchmarks/Sources/benchmarks/Benchmarks.swift.
        (0..<4).reduce(URL(fileURLWithPath: #filePath)) { url, _ in
            url.deletingLastPathComponent()
        }.path
    }

    func run() throws {
        var report = Report()
        let builder = ImageBuild(root: root, configuration: .release)
        let hello = try builder.build(package: root + "/Samples/HelloWorld")
        let web = try builder.build(package: root + "/Samples/StaticWebServer")
        for (name, image) in [("HelloWorld", hello), ("StaticWebServer", web)] {
            let size = try ImageSize(of: image, top: 0)
            report.add("\(name), stripped", Double(size.bytes), "bytes")
            report.add("\(name), symbols", Double(size.symbols), "")
        }
        for configuration in BuildConfiguration.allCases {
            try measureRebuild(configuration, &report)
        }
        try measureBoot(hello, &report)
        try measureStart(
            builder.build(package: root + "/Tests/Guests", product: "Probe"), &report)
        try measureServer(web, &report)
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            print(report.table)
        }
    }

    private func time(_ body: () throws -> Void) rethrows -> Double {
        let start = ContinuousClock.now
        try body()
        return (ContinuousClock.now - start) / .milliseconds(1)
    }

    private func samples(_ body: () throws -> Void) rethrows -> [Double] {
        _ = try time(body)
        return try (0..<max(runs, 1)).map { _ in try time(body) }
    }

    // MARK: Building and booting

    private func measureRebuild(
        _ configuration: BuildConfiguration, _ report: inout Report
    ) throws {
        let builder = ImageBuild(root: root, configuration: configuration)
        let folder = root + "/Samples/StaticWebServer"
        let source = folder + "/Sources/StaticWebServer/StaticWebServer.swift"
        let text = try String(contentsOfFile: source, encoding: .utf8)
        let line = "listing: listing)"
        guard text.contains(line) else { throw LaunchError("\(source) has no line to change") }
        _ = try builder.build(package: folder)
        defer { try? text.write(toFile: source, atomically: true, encoding: .utf8) }
        var times: [Double] = []
        // A file that says the same again is compiled sooner.
        for count in 1...3 {
            let other = text.replacingOccurrences(
                of: line, with: "listing: listing && \(count) > 0)")
            try other.write(toFile: source, atomically: true, encoding: .utf8)
            times.append(try time { _ = try builder.build(package: folder) })
        }
        report.add(
            "rebuild after changing a line of the microservice, \(configuration)", samples: times,
            "ms")
    }

    private func measureBoot(_ hello: Image, _ report: inout Report) throws {
        let qemu = try Machine.qemu()
        let version = "qemu-system-x86_64 --version"
        report.add(
            version, samples: try samples { _ = try Command.capture(qemu, ["--version"]) }, "ms")
        let empty = try emptyGuest()
        report.add(
            "boot cycle of an empty guest",
            samples: try samples { try boot(empty) }, "ms", baseline: version)
        report.add(
            "boot cycle of HelloWorld",
            samples: try samples { try boot(hello.path) }, "ms",
            baseline: "boot cycle of an empty guest")
    }

    /// From the guest's first instruction to the service's `run`, by the guest's own clock.
    private func measureStart(_ probe: Image, _ report: inout Report) throws {
        var times: [Double] = []
        for _ in 0..<max(runs, 1) {
            var machine = Machine(image: probe.path)
            machine.arguments = ["uptime"]
            let console = try machine.boot().console
            guard
                let line = console.split(whereSeparator: \.isNewline)
                    .first(where: { $0.hasPrefix("uptime ") }),
                let nanoseconds = Double(line.dropFirst(7))
            else { throw LaunchError("no uptime in: \(console)") }
            times.append(nanoseconds / 1e6)
        }
        report.add("first instruction to run", samples: times, "ms")
    }

    private func boot(_ image: String) throws {
        let (status, console) = try Machine(image: image).boot()
        guard status == 0 else {
            throw LaunchError("\(image) ended with \(status ?? -1): \(console)")
        }
    }

    /// Assembles the guest that does nothing.
    private func emptyGuest() throws -> String {
        let image = root + "/Benchmarks/.build/empty"
        guard let clang = Command.findTool("clang") else {
            throw LaunchError.missing("clang is not in PATH; it comes with Swift")
        }
        let built = try Command.capture(
            clang,
            [
                "-nostdlib", "-static", "-fuse-ld=lld", "-Wl,--image-base=0x100000",
                "-Wl,--build-id=none",
                root + "/Benchmarks/EmptyGuest/empty.S", "-o", image,
            ])
        guard built.status == 0 else { throw LaunchError(built.output) }
        return image
    }

    // MARK: Serving

    private func measureServer(_ web: Image, _ report: inout Report) throws {
        // What users run: `./toro` builds it with optimization.
        let device = root + "/Tools/.build/release/toro-vsock-device"
        guard FileManager.default.isExecutableFile(atPath: device) else {
            throw LaunchError.missing("\(device) is missing: ./toro doctor builds it")
        }
        let folder =
            NSTemporaryDirectory() + "toro-benchmark-\(ProcessInfo.processInfo.processIdentifier)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for (name, size) in Benchmarks.files + [("large", Benchmarks.largeSize)] {
            let content = Data(count: size)
            try content.write(to: URL(fileURLWithPath: folder + "/" + name))
        }
        try measureSmallestMemory(web, folder, device, &report)
        let server = try Server(web, folder: folder, memory: "16M", device: device)
        defer { server.end() }
        try measureThroughput(server, &report)
        report.add("PSS of all host processes, after load", server.memory / 1e6, "MB")
        let before = server.processorTime
        Thread.sleep(forTimeInterval: Double(idle))
        report.add(
            "processor time while idle, over \(idle) s",
            (server.processorTime - before) / Double(max(idle, 1)) * 100, "% of a core")
    }

    private func measureSmallestMemory(
        _ web: Image, _ folder: String, _ device: String, _ report: inout Report
    ) throws {
        for megabytes in 2...32 {
            guard
                let server = try? Server(
                    web, folder: folder, memory: "\(megabytes)M", device: device, patience: 5)
            else { continue }
            let outcome = try? load(server, "100kB", 100_000, connections: 1, seconds: 0)
            server.end()
            guard outcome != nil else { continue }
            report.add("smallest memory that serves 100 kB", Double(megabytes), "MiB")
            return
        }
    }

    private func measureThroughput(_ server: Server, _ report: inout Report) throws {
        // QEMU translates the guest's code when it first runs.
        let (file, size) = Benchmarks.files[0]
        _ = try load(server, file, size, connections: 1, seconds: 1)
        for (file, size) in Benchmarks.files {
            for connections in [1, 64, 256] {
                let outcome = try load(
                    server, file, size, connections: connections, seconds: Double(seconds))
                let name = "\(file), \(connections) connections"
                report.add(name, outcome.rate, "requests/s")
            }
        }
        let speeds = try (0..<3).map { _ in
            let outcome = try load(
                server, "large", Benchmarks.largeSize, connections: 1, seconds: 0)
            return Double(Benchmarks.largeSize) / outcome.seconds / 1e6
        }
        report.add("a file of 256 MiB", samples: speeds, "MB/s")
    }

    /// Asks for a file, whose every byte is compared; throws if anything is not as it should be.
    private func load(
        _ server: Server, _ file: String, _ size: Int, connections: Int, seconds: Double
    ) throws -> Load.Outcome {
        let outcome = Load(
            port: server.port, target: "/" + file, body: [UInt8](repeating: 0, count: size),
            connections: connections, seconds: seconds
        ).run()
        guard outcome.faults.isEmpty else {
            throw LaunchError("\(file), \(connections) connections: \(outcome.faults)")
        }
        return outcome
    }
}
