package example;

import java.util.List;
import java.util.Map;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.security.core.GrantedAuthority;
import org.springframework.security.core.annotation.AuthenticationPrincipal;
import org.springframework.security.oauth2.core.OAuth2AuthenticatedPrincipal;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** An API that has every token checked by the sidecar beside it (RFC 7662). */
@SpringBootApplication
@RestController
public class Orders {
    public static void main(String[] args) {
        SpringApplication.run(Orders.class, args);
    }

    /** Tells the caller what is known of him. */
    @GetMapping("/orders")
    Map<String, Object> orders(@AuthenticationPrincipal OAuth2AuthenticatedPrincipal caller) {
        List<String> authorities = caller.getAuthorities().stream().map(GrantedAuthority::getAuthority).toList();
        return Map.of("subject", caller.getName(), "authorities", authorities, "attributes", caller.getAttributes().keySet());
    }
}
