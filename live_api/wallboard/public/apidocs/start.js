// Addresses are relative to the root that the server wrote into the page, which may be below a proxy's path.
window.SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  filter: true,
  // Its own default is a service on the internet that is told of every document.
  validatorUrl: null,
  tryItOutEnabled: true,
});
