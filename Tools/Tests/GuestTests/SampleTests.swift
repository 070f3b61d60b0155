import Foundation
import Launcher
import Testing
import ToroCore
import ToroHost
import ToroTesting

/// The samples, as their readers find them.
@Suite(.serialized) struct SampleTests {
    private func build(
        _ name: String, root: String = Images.root,
        _ configuration: BuildConfiguration = Images.configuration
    ) throws -> Image {
        try ImageBuild(root: root, configuration: configuration)
            .build(package: root + "/Samples/" + name)
    }

    @Test func helloWorldSaysHello() throws {
        let image = try build("HelloWorld")
        let (status, console) = try Machine(image: image.path).boot(limit: Patience.seconds)
        #expect(status == 0)
        #expect(console == "Hello from Toro\n" || console == "Hello from Toro\r\n", "\(console)")
    }

    @Test(arguments: ["HelloWorld", "StaticWebServer"])
    func keepsItsBudget(_ name: String) throws {
        let image = try build(name, .release)
        let size = try ImageSize(of: image, top: 0)
        let budget = try #require(
            try SizeBudget(package: Images.root + "/Samples/" + name), "no size-budget.json")
        #expect(size.bytes <= budget.bytes)
        #expect(size.symbols > 100)
        // The parts are of the whole: what no symbol covers is headers, literals and padding.
        let covered = size.units.reduce(0) { $0 + $1.bytes }
        #expect(covered < size.bytes && covered > size.bytes * 3 / 4, "\(covered) of \(size.bytes)")
    }

    private let webServer = Images.root + "/Samples/StaticWebServer"

    /// The port in what `toro run` says when the web server is ready; nil if it never is.
    private func readyPort(_ run: ToroProcess) -> UInt16? {
        let mark = "ready: http://127.0.0.1:"
        guard run.waits(for: mark), run.waits(for: "(the web server)"),
            let start = run.output.range(of: mark)?.upperBound
        else { return nil }
        return UInt16(run.output[start...].prefix { $0.isNumber })
    }

    /// Whether the site at `port` has this page and its style sheet, byte for byte.
    @Core private func expectSite(_ folder: String, at port: UInt16) async throws {
        let stream = try await HostStream.connect(port: port)
        defer { stream.close() }
        for (target, file) in [("/", "index.html"), ("/style.css", "style.css")] {
            let answer = try await stream.get(target)
            #expect(answer.status == 200, "\(target)")
            let bytes = try #require(FileManager.default.contents(atPath: folder + "/" + file))
            #expect(answer.body == Array(bytes), "\(target)")
        }
    }

    /// The README's first command, but for the port.
    @Test @Core func oneCommandServesTheSite() async throws {
        let run = try ToroProcess(["run", webServer, "--publish", "0:80"])
        let port = try #require(readyPort(run), "\(run.output)")
        try await expectSite(webServer + "/site", at: port)
        run.signal(SIGINT)
        #expect(run.status() == 130, "\(run.output)")
    }

    /// An image knows its service's port and scheme, but no folder of any host.
    @Test @Core func anImageCarriesItsNeeds() async throws {
        let folder = try TestFolder()
        let image = folder.path + "/web.elf"
        let build = try ToroProcess(["build", webServer, "-o", image])
        #expect(build.status() == 0, "\(build.output)")
        #expect(try build.files == [], "a build leaves temporary files")
        let without = try ToroProcess(["run", image, "--publish", "0:80"])
        #expect(without.status() == 64, "\(without.output)")
        #expect(without.output.contains("site"), "\(without.output)")
        let site = try TestFolder()
        try site.write(Array("a page".utf8), to: "index.html")
        try site.write(Array("a style".utf8), to: "style.css")
        let run = try ToroProcess(
            ["run", image, "--share", "site=\(site.path)", "--publish", "0:80"])
        let port = try #require(readyPort(run), "\(run.output)")
        try await expectSite(site.path, at: port)
        run.signal(SIGINT)
        #expect(run.status() == 130, "\(run.output)")
    }

    /// The same service as a process of this host.
    @Test @Core func theWebServerConformsAsAProcess() async throws {
        let scratch = webServer + "/.build"
        let swift = Process()
        swift.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        swift.arguments = [
            "swift", "build", "--package-path", webServer, "--product", "StaticWebServerHost",
        ]
        swift.standardOutput = FileHandle.nullDevice
        try swift.run()
        swift.waitUntilExit()
        #expect(swift.terminationStatus == 0)
        let folder = try TestFolder()
        try folder.make(HTTPSite.recipe)
        // A port that was free a moment ago.
        let listener = try HostListener(port: 0)
        let port = listener.port
        listener.close()
        let server = Process()
        server.executableURL = URL(fileURLWithPath: scratch + "/debug/StaticWebServerHost")
        server.arguments = ["--share", "site=\(folder.path)", "--publish", "\(port):80"]
        try server.run()
        defer {
            // SIGTERM may be blocked: a program inherits that from the thread that starts it.
            kill(server.processIdentifier, SIGKILL)
            server.waitUntilExit()
        }
        let limit = Date(timeIntervalSinceNow: Patience.seconds)
        var isThere = false
        while !isThere, Date() < limit, server.isRunning {
            isThere = (try? await answers(port)) ?? false
        }
        #expect(isThere)
        let conformance = HTTPConformance { try? await HostStream.connect(port: port) }
        for failure in await conformance.run() { Issue.record("\(failure)") }
        #expect(conformance.checks > 250)
    }

    /// Whether somebody listens at `port` and answers.
    @Core private func answers(_ port: UInt16) async throws -> Bool {
        let stream = try await HostStream.connect(port: port)
        defer { stream.close() }
        try await stream.send("GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n")
        return await HTTPAnswerReader(stream).next()?.status == 200
    }

    /// Two checkouts in two folders, built one after the other.
    @Test(arguments: BuildConfiguration.allCases)
    func theSameSourcesGiveTheSameBytes(_ configuration: BuildConfiguration) throws {
        let folder = try TestFolder()
        let other = folder.path + "/a checkout"
        try FileManager.default.createDirectory(
            atPath: other, withIntermediateDirectories: true)
        for name in ["Package.swift", "Modules", "Platform"] {
            try FileManager.default.copyItem(
                atPath: Images.root + "/" + name, toPath: other + "/" + name)
        }
        let sample = "/Samples/HelloWorld"
        try FileManager.default.createDirectory(
            atPath: other + sample, withIntermediateDirectories: true)
        for name in ["Package.swift", "Sources"] {
            try FileManager.default.copyItem(
                atPath: Images.root + sample + "/" + name,
                toPath: other + sample + "/" + name)
        }
        let first = try build("HelloWorld", configuration)
        let second = try build("HelloWorld", root: other, configuration)
        #expect(first.path != second.path)
        #expect(
            FileManager.default.contents(atPath: first.path)
                == FileManager.default.contents(atPath: second.path))
    }
}
