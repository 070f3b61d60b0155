import Foundation
import LoadClient
import Testing
import ToroCore
import ToroTesting

@testable import Launcher

/// What `./toro package` makes, where there is neither Swift nor a checkout.
@Suite(.serialized) struct PackageTests {
    private static let name = "toro-0-x86_64-linux"

    /// A tarball of what ./toro has built for itself, once for all tests.
    private static let tarball = Result { () throws -> String in
        let folder = Images.root + "/.build/toro-package-test"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true)
        return try make(folder, umask: "022")
    }

    /// Has what ./toro has built make the tarball; returns its path. To type ./toro here would be to
    /// wait for this build's lock.
    private static func make(_ folder: String, umask: String) throws -> String {
        let toro = Images.root + "/Tools/.build/release/toro"
        try #require(FileManager.default.isExecutableFile(atPath: toro), "type ./toro once")
        let script = "umask \(umask); TORO_ROOT=\"$0\" exec \"$1\" package -o \"$2\""
        let made = try Command.capture("/bin/sh", ["-c", script, Images.root, toro, folder])
        try #require(made.status == 0, "\(made.output)")
        return folder + "/\(name).tar.gz"
    }

    /// Where the tarball was unpacked, and nothing else of Toro is.
    private final class Site {
        let folder: TestFolder
        let programs: String
        let path: String

        init() throws {
            folder = try TestFolder()
            programs = folder.path + "/\(PackageTests.name)"
            let ended = try Command.capture(
                try #require(Command.find("tar")),
                ["-xzf", try PackageTests.tarball.get(), "-C", folder.path])
            try #require(ended.status == 0, "\(ended.output)")
            // Without Swift's tools.
            path = folder.path + "/path"
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: false)
            for file in [try Machine.qemu(), try FileDaemon.installed().path] {
                try FileManager.default.createSymbolicLink(
                    atPath: path + "/" + (file as NSString).lastPathComponent,
                    withDestinationPath: file)
            }
            // Whoever runs it may read it.
            for file in ["", "/path"] {
                try FileManager.default.setAttributes(
                    [.posixPermissions: 0o755], ofItemAtPath: folder.path + file)
            }
        }

        /// Runs the packaged program in place of the one that was built for the tests.
        func start(_ arguments: [String], isOrdinary: Bool = false) throws -> ToroProcess {
            let user = isOrdinary ? "setpriv --reuid=65534 --regid=65534 --clear-groups" : ""
            let script = """
                shift; chmod 777 "$TMPDIR"
                exec \(user) env -i PATH="\(path)" TMPDIR="$TMPDIR" \(programs)/toro "$@"
                """
            return try ToroProcess(arguments, prefix: ["/bin/sh", "-c", script, "sh"])
        }
    }

    @Test func theSameProgramsGiveTheSameBytes() throws {
        let path = try PackageTests.tarball.get()
        let folder = try TestFolder()
        let other = try PackageTests.make(folder.path, umask: "077")
        #expect(FileManager.default.contentsEqual(atPath: path, andPath: other))
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        #expect(files == [PackageTests.name + ".tar.gz"])
    }

    @Test func itHoldsWhatItMustAndNoPathOfThisMachine() throws {
        let tar = try #require(Command.find("tar"))
        let list = try Command.capture(
            tar, ["-tvzf", try PackageTests.tarball.get(), "--numeric-owner", "--utc"])
        let lines = list.output.split(separator: "\n").map { $0.split(separator: " ") }
        let name = PackageTests.name
        let files = ["", "LICENSE", "README.md", "toro", "toro-vsock-device"]
        #expect(lines.map { String($0.last ?? "") } == files.map { "\(name)/\($0)" })
        #expect(lines.allSatisfy { $0.count == 6 && $0[1] == "0/0" && $0[3] == "1970-01-01" })
        #expect(
            lines.map { String($0[0]) } == [
                "drwxr-xr-x", "-rw-r--r--", "-rw-r--r--", "-rwxr-xr-x", "-rwxr-xr-x",
            ])
        let site = try Site()
        let root = Data(Images.root.utf8)
        for file in files.dropFirst() {
            let bytes = try #require(
                FileManager.default.contents(atPath: site.programs + "/" + file))
            #expect(bytes.range(of: root) == nil, "\(file)")
            let sections = ELFImage([UInt8](bytes))?.sections.map(\.name) ?? []
            #expect(!sections.contains(where: ToolPackage.ofThisFolder.contains), "\(file)")
        }
    }

    @Test func whatNeedsSourcesSaysSo() throws {
        let site = try Site()
        let version = try site.start(["--version"])
        #expect(version.status() == 0 && version.output.hasPrefix("0 "), "\(version.output)")
        #expect(try site.start(["--help"]).status() == 0)
        let sample = Images.root + "/Samples/HelloWorld"
        for words in [
            ["build", sample], ["run", sample], ["run", sample, "--watch"], ["size", sample],
            ["test"], ["new", site.folder.path + "/x"], ["sdk", "install"], ["package"],
        ] {
            let run = try site.start(words)
            #expect(run.status() == 69, "\(words): \(run.output)")
            #expect(run.output.contains("type ./toro in a checkout"), "\(words): \(run.output)")
        }
        // What builds images is no part of it.
        let doctor = try site.start(["doctor"])
        #expect(doctor.status() == 0, "\(doctor.output)")
        #expect(doctor.output.contains("a published port: tried"), "\(doctor.output)")
        #expect(!doctor.output.contains("Swift"), "\(doctor.output)")
    }

    @Test(arguments: [false, true]) func itServesAShare(_ isOrdinary: Bool) throws {
        // Who is not root already tests as who is not.
        if isOrdinary, geteuid() != 0 { return }
        let site = try Site()
        try site.folder.write(Array("a page".utf8), to: Path("a.txt"))
        let image = site.folder.path + "/web.image"
        try FileManager.default.copyItem(atPath: try Images.webProbe().path, toPath: image)
        let run = try site.start(
            ["run", image, "-v", "site=\(site.folder.path)", "-p", "0:80"], isOrdinary: isOrdinary)
        #expect(run.waits(for: "ready: 127.0.0.1:"), "\(run.output)")
        let start = try #require(run.output.range(of: "ready: 127.0.0.1:")?.upperBound)
        let port = run.output[start...].prefix { $0.isNumber }
        #expect(try ClientSocket.body(of: "/a.txt", port: port) == "a page")
        run.signal(SIGTERM)
        #expect(run.status() == 128 + SIGTERM, "\(run.output)")
    }

    /// A program that needs the toolchain's libraries starts nowhere else.
    @Test func whatNeedsTheToolchainIsNotPackaged() throws {
        let folder = try TestFolder()
        let own = try #require(Images.tool("toro"), "toro is not built")
        let package = ToolPackage(
            programs: (own as NSString).deletingLastPathComponent, root: Images.root, version: "0")
        #expect {
            _ = try package.write(to: folder.path)
        } throws: { error in
            "\(error)".contains("libswiftCore.so")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
    }

    @Test func withoutProcItIsNamed() throws {
        let run = try ToroProcess(
            ["--version"],
            prefix: [
                "/usr/bin/unshare", "-r", "-m", "/bin/sh", "-c",
                "mount -t tmpfs none /proc && exec \"$@\"", "sh",
            ])
        #expect(run.status() == 69)
        #expect(run.output.contains("/proc is not mounted"), "\(run.output)")
    }
}
