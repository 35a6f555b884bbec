import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.opensearch.analysis.common.CommonAnalysisPlugin;
import org.opensearch.common.settings.Settings;
import org.opensearch.index.mapper.MapperExtrasPlugin;
import org.opensearch.index.reindex.ReindexPlugin;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.transport.Netty4Plugin;

/**
 * One OpenSearch node with its HTTP server: {@code java -cp classes:lib/* Node setting=value...}
 *
 * <p>The published archive does not come from a package registry, its jars do; this stands in for the start script. The plugins
 * are classes on the class path. It says "NODE READY" once the cluster answers as healthy: the port alone opens before the
 * shards of an old data folder are back.
 */
public final class Node extends org.opensearch.node.Node {
    private Node(Settings settings) {
        super(
                InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), (Path) null, () -> "node"),
                List.of(
                        Netty4Plugin.class,
                        ReindexPlugin.class,
                        MapperExtrasPlugin.class,
                        CommonAnalysisPlugin.class),
                true);
    }

    public static void main(String[] args) {
        try {
            run(args);
        } catch (Throwable problem) {
            problem.printStackTrace();
            System.exit(1); // the node's own threads would keep the process up
        }
    }

    private static void run(String[] args) throws Exception {
        Settings.Builder settings = Settings.builder();
        for (String argument : args) {
            String[] pair = argument.split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        Node node = new Node(settings.build());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (Exception problem) {
                problem.printStackTrace();
            }
        }));
        node.start();
        int port = node.injector().getInstance(org.opensearch.http.HttpServerTransport.class)
                .boundAddress().publishAddress().getPort();
        URL health = new URL("http://127.0.0.1:" + port
                + "/_cluster/health?wait_for_status=yellow&wait_for_no_initializing_shards=true&timeout=60s");
        int status = ((HttpURLConnection) health.openConnection()).getResponseCode();
        if (status != 200) {
            throw new IllegalStateException("the cluster's health answers " + status);
        }
        System.out.println("NODE READY port=" + port);
        Thread.currentThread().join();
    }
}
