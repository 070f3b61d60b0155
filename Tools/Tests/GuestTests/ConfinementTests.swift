import Foundation
import Launcher
import Testing
import ToroCore

/// `toro` where it may do less than root of a whole machine, and what its parts may do.
@Suite(.enabled(if: geteuid() == 0)) struct ConfinementTests {
    /// As root of a container that was given no more than containers are.
    private static let container = [
        "/usr/bin/setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin",
    ]

    private func shell(_ script: String) -> [String] {
        ["/usr/bin/unshare", "-U", "-r", "-m", "/bin/sh", "-c", script + " && exec \"$@\"", "sh"]
    }

    private func folder() throws -> TestFolder {
        let folder = try TestFolder()
        try folder.write(Array("alpha".utf8), to: "a.txt")
        return folder
    }

    private func list(_ share: String, prefix: [String]) throws -> (status: Int32?, text: String) {
        let run = try ToroProcess(
            ["run", try Images.probe().path, "--share", "site=\(share)", "--", "files"],
            prefix: prefix)
        return (run.status(), run.output)
    }

    @Test(arguments: ["", ":rw"]) func sharesNeedNoAdministrator(_ mode: String) throws {
        let folder = try folder()
        let (status, text) = try list(folder.path + mode, prefix: ConfinementTests.container)
        #expect(status == 0 && text.contains("612e747874 5 "), "\(text)")
    }

    /// Root in a container reads what root reads: files of others, too.
    @Test func aContainersRootReadsOthersFiles() throws {
        let folder = try folder()
        // SAFETY: the path is a C string for the calls.
        #expect(unsafe chown(folder.path + "/a.txt", 1234, 1234) == 0)
        #expect(unsafe chmod(folder.path + "/a.txt", 0o600) == 0)
        let (status, text) = try list(folder.path, prefix: ConfinementTests.container)
        #expect(status == 0 && text.contains("612e747874 5 "), "\(text)")
    }

    /// Without any namespace a writable share starts, and what cannot says why and what to do.
    @Test func whatNeedsNamespacesSaysSo() throws {
        let folder = try folder()
        let prefix =
            shell("echo 0 >/proc/sys/user/max_user_namespaces") + ConfinementTests.container
        let writable = try list(folder.path + ":rw", prefix: prefix)
        #expect(writable.status == 0 && writable.text.contains("612e747874 5 "), "\(writable.text)")
        let (status, text) = try list(folder.path, prefix: prefix)
        // The Rust virtiofsd needs no namespace to serve a folder read-only.
        guard status != 0 else { return }
        #expect(status == 125)
        #expect(text.contains("virtiofsd (share site)"), "\(text)")
        #expect(text.contains("sysctl -w user.max_user_namespaces"), "\(text)")
    }

    /// What is mounted below a read-only folder is read-only, too.
    @Test func mountsBelowAReadOnlyFolderAreReadOnly() throws {
        let folder = try folder()
        let below = folder.path + "/below"
        try FileManager.default.createDirectory(atPath: below, withIntermediateDirectories: true)
        let run = try ToroProcess(
            [
                "run", try Images.webProbe().path, "--share", "site=\(folder.path)", "--publish",
                "0:80",
            ], prefix: shell("mount -t tmpfs none '\(below)' && touch '\(below)/mark'"))
        #expect(run.waits(for: "ready: "), "\(run.output)")
        let roots = run.parts.filter { $0.name == "virtiofsd" }.map { "/proc/\($0.pid)/root/" }
            .filter { FileManager.default.fileExists(atPath: $0 + "below/mark") }
        #expect(!roots.isEmpty, "\(run.parts)")
        for root in roots {
            // SAFETY: the path is a C string for the call.
            let file = unsafe open(root + "below/new", O_CREAT | O_WRONLY | O_EXCL, 0o644)
            #expect(file < 0 && errno == EROFS)
        }
        run.signal(SIGINT)
        #expect(run.status() == 130, "\(run.output)")
    }
}

/// Paths that the words and the kernel read differently.
@Suite struct PathTests {
    @Test func aPackageIsFoundAsTheKernelFindsIt() throws {
        let folder = try TestFolder()
        let files = FileManager.default
        for name in ["/there/real", "/here"] {
            try files.createDirectory(
                atPath: folder.path + name, withIntermediateDirectories: true)
        }
        try folder.write([], to: "here/Package.swift")
        try files.createSymbolicLink(
            atPath: folder.path + "/here/link", withDestinationPath: folder.path + "/there/real")
        // Foundation's own reading differs for relative paths only.
        let depth = files.currentDirectoryPath.split(separator: "/").count
        let base = String(repeating: "../", count: depth) + folder.path.dropFirst()
        let run = try ToroProcess(["build", base + "/here/link/.."])
        #expect(run.status() == 64)
        #expect(run.output.contains("/there is no package"), "\(run.output)")
    }
}
