import { mount } from "svelte";
import Entrance from "./Entrance.svelte";
import "./app.css";

mount(Entrance, { target: document.getElementById("wall")! });
